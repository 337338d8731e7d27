"""What can be trained on: annotations without what the validator calls mended, and the count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .check import clip_boxes, find_double_images, find_double_objects, has_no_area
from .known import Known
from .table import Annotations


def make_usable(
    found: Annotations, known: Known | None = None
) -> tuple[Annotations, dict[str, int]]:
    """Annotations that can be trained on, and how many of what went, in the order of the steps:

    1. images that `known` leaves out, with their objects ("flawed images", "flawed objects");
    2. of an image under several ids the id with the most objects stays, the first read among
       equals ("double images", "double objects of images");
    3. boxes without an area are dropped ("zero-area");
    4. boxes are clipped to their image, masks are left alone ("clipped"), and what then has no
       area is dropped ("far outside");
    5. objects with image, class and box of an earlier one are dropped ("double objects").
    """
    counts: dict[str, int] = {}
    if known is not None:
        bad = [n for flaw in known.left_out for n in known.flawed(found.names, flaw)]
        found = _drop_images(found, bad, ("flawed images", "flawed objects"), counts)
    found = _drop_images(
        found, find_losers(found), ("double images", "double objects of images"), counts
    )
    found = _drop(found, has_no_area(found.box), "zero-area", counts)
    clipped = clip_boxes(found)
    counts["clipped"] = int((clipped != found.box).any(axis=1).sum())
    if counts["clipped"]:
        found = replace(found, box=clipped)
    found = _drop(found, has_no_area(found.box), "far outside", counts)
    counts["clipped"] -= counts["far outside"]
    found = _drop(found, find_double_objects(found), "double objects", counts)
    return found, counts


def find_losers(found: Annotations) -> list[int]:
    """Images to leave so that each name is there once; the one with the most objects wins.

    Two people outlined the same cells: joining both sets would make every cell twice.
    """
    objects = found.per_image()
    losers: list[int] = []
    for places in find_double_images(found).values():
        winner = max(places, key=lambda n: (objects[n], -n))
        losers += [n for n in places if n != winner]
    return losers


def describe_usable(found: Annotations, counts: dict[str, int]) -> str:
    """One line: what is left and what went."""
    went = [f"{count:,} {what}" for what, count in counts.items() if count]
    kept = f"{len(found.names):,} images and {len(found):,} objects are usable"
    return f"{kept} ({', '.join(went)})" if went else kept


def _drop(found: Annotations, bad: np.ndarray, what: str, counts: dict[str, int]) -> Annotations:
    counts[what] = int(bad.sum())
    return found.select(~bad) if bad.any() else found


def _drop_images(
    found: Annotations, bad: list[int], what: tuple[str, str], counts: dict[str, int]
) -> Annotations:
    stay = np.ones(len(found.names), bool)
    stay[bad] = False
    counts[what[0]] = len(bad)
    counts[what[1]] = int((~stay[found.image]).sum())
    return found.select(np.ones(len(found), bool), stay) if bad else found
