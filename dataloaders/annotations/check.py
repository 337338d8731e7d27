"""The validator: what is wrong with annotations, counted, with examples that name no image.

Examples say an image by its number in the order read and a hash of its name, an object by its id.
`usable` (in `usable.py`) mends what is `mended` here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .known import Known
from .outside import find_image, read_size
from .shapes import overlap, pair_boxes
from .table import CROWD, NONE, Annotations
from .wrong import short_hash

EXAMPLES = 5
NEAR_IOU, DOUBLE_IOU = 0.5, 0.8
"""Boxes that overlap more than the first have their masks compared; masks more than the second
are a double contour."""


@dataclass(frozen=True)
class Finding:
    """One kind of flaw."""

    kind: str
    count: int
    grade: str
    """"wrong": training would go wrong; "mended": `usable` sees to it; "note": worth knowing."""
    text: str
    examples: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def check_annotations(
    found: Annotations, images: Path | None = None, known: Known | None = None, split: str = ""
) -> list[Finding]:
    """Everything that is wrong, worst first. With `images` (their folder) headers are read too;
    with `known` counts of `split` and the flaws of a published set are expected.

    Masks are drawn only for pairs whose boxes overlap by half. ValueError for an unknown split.
    """
    checks: list[Callable[[Annotations], list[Finding]]] = [
        *(check_boxes, check_classes, check_doubles, check_masks, check_images, check_overlaps)
    ]
    findings = [finding for check in checks for finding in check(found)]
    if images is not None:
        findings += check_files(found, images)
    if known is not None:
        findings += check_known(found, known, split)
    order = {"wrong": 0, "mended": 1, "note": 2}
    return sorted((f for f in findings if f.count), key=lambda f: order[f.grade])


def name_object(found: Annotations, number: int) -> str:
    """`object 17 of image 3 (a hash)`: the object's id, the image's number from 1."""
    return f"object {found.object_id[number]} of {name_image(found, int(found.image[number]))}"


def name_image(found: Annotations, number: int) -> str:
    """`image 3 (a hash)`, the number counted from 1 in the order read."""
    return f"image {number + 1} ({short_hash(found.names[number])})"


def of_objects(found: Annotations, kind: str, grade: str, text: str, bad: np.ndarray) -> Finding:
    """A finding of the objects where `bad` (A,) bool is set."""
    some = np.flatnonzero(bad)[:EXAMPLES].tolist()
    examples = tuple(name_object(found, n) for n in some)
    return Finding(kind, int(bad.sum()), grade, text, examples)


def of_images(
    found: Annotations, kind: str, grade: str, text: str, numbers: Iterable[int]
) -> Finding:
    """A finding of images by their places in `names`."""
    bad = list(numbers)
    return Finding(kind, len(bad), grade, text, tuple(name_image(found, n) for n in bad[:EXAMPLES]))


def has_no_area(box: np.ndarray) -> np.ndarray:
    """(A,4) -> (A,) bool."""
    return (box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1])


def clip_boxes(found: Annotations) -> np.ndarray:
    """(A,4): boxes cut at 0 and at the image's width and height, where these are known."""
    size = np.where(found.size > 0, found.size, np.iinfo(np.int32).max)[found.image]
    limit = size[:, [1, 0, 1, 0]].astype(np.float64)
    return np.clip(found.box, 0, limit)


def check_boxes(found: Annotations) -> list[Finding]:
    """Boxes without an area, and those that reach out of their image."""
    empty = has_no_area(found.box)
    clipped = clip_boxes(found)
    out = (clipped != found.box).any(axis=1) & ~empty
    gone = out & has_no_area(clipped)
    rows = (
        ("zero-area", "boxes have no width or no height; they are dropped", empty),
        ("outside", "boxes reach out of their image; they are clipped at its edges", out & ~gone),
        ("far outside", "boxes lie wholly out of their image; they are dropped", gone),
    )
    return [of_objects(found, kind, "mended", text, bad) for kind, text, bad in rows]


def check_classes(found: Annotations) -> list[Finding]:
    """Objects of classes that no list names, and classes without objects or with one name."""
    bad = ~found.declared[found.label] if len(found) else np.zeros(0, bool)
    used = np.bincount(found.label, minlength=len(found.classes))
    unused = int((used == 0).sum())
    twice = len(found.classes) - len(set(found.classes))
    return [
        of_objects(found, "unknown class", "wrong", "objects are of classes that no list has", bad),
        Finding("unused class", unused, "note", "classes have no object"),
        Finding("class named twice", twice, "wrong", "classes have the name of another"),
    ]


def find_double_images(found: Annotations) -> dict[str, list[int]]:
    """Names that stand there under several ids, with their places."""
    places: dict[str, list[int]] = {}
    for number, name in enumerate(found.names):
        places.setdefault(name, []).append(number)
    return {name: own for name, own in places.items() if len(own) > 1}


def find_double_objects(found: Annotations) -> np.ndarray:
    """(A,) bool: objects whose image, class and box an earlier one has, bit by bit."""
    rows = np.column_stack([found.image, found.label, found.box])
    _, first = np.unique(rows, axis=0, return_index=True)
    twice = np.ones(len(found), bool)
    twice[first] = False
    return twice


def check_doubles(found: Annotations) -> list[Finding]:
    """Images under several ids, objects that stand there twice, ids that do."""
    later = [n for own in find_double_images(found).values() for n in own[1:]]
    ids = len(found) - len(np.unique(found.object_id))
    same = "objects have the class and box of an earlier one in their image; they are dropped"
    return [
        of_images(
            found,
            *("double image", "mended"),
            "images are an earlier one under another id; the id with more objects stays",
            later,
        ),
        of_objects(found, "double object", "mended", same, find_double_objects(found)),
        Finding("double id", ids, "note", "objects have the id of another"),
    ]


def check_masks(found: Annotations) -> list[Finding]:
    """Masks of another size than their image, crowds, and objects without a mask among masks."""
    kind = found.masks.kind
    odd = np.zeros(len(found), bool)
    odd[list(found.kept.objects.get("/size", {}))] = True
    bare = (kind == NONE) & bool((kind != NONE).any())
    crowd = found.flags & CROWD > 0
    return [
        of_objects(found, "mask size", "wrong", "masks have another size than their image", odd),
        of_objects(found, "no mask", "note", "objects have a box only, others have masks", bare),
        of_objects(found, "crowd", "note", "objects are crowds, which scores leave out", crowd),
    ]


def check_images(found: Annotations) -> list[Finding]:
    """Images without objects or without a size."""
    empty = np.flatnonzero(found.per_image() == 0).tolist()
    unknown = np.flatnonzero((found.size <= 0).any(axis=1)).tolist()
    return [
        of_images(found, "no objects", "note", "images have no object", empty),
        of_images(found, "no size", "note", "images state no width and height", unknown),
    ]


def find_overlaps(found: Annotations, least: float = DOUBLE_IOU) -> list[tuple[int, int, float]]:
    """Pairs of objects (numbers) of one image with IoU above `least`, and that IoU.

    IoU is of masks on pixels where either has one, else of boxes. Pairs whose boxes do not
    overlap by half are passed over: their masks are compared with nothing.
    """
    order = np.argsort(found.image, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(found.per_image())]).tolist()
    pairs = []
    for begin, end in itertools.pairwise(cuts):
        own = order[begin:end]
        for one, other in own[pair_boxes(found.box[own], min(least, NEAR_IOU))].tolist():
            if (iou := overlap(found, one, other)) > least:
                pairs.append((one, other, iou))
    return pairs


def check_overlaps(found: Annotations) -> list[Finding]:
    """Double contours: pairs of one image whose masks (or boxes) overlap by more than 0.8."""
    pairs = find_overlaps(found)
    text = f"pairs of objects overlap with IoU above {DOUBLE_IOU}: one thing outlined twice?"
    some = tuple(
        f"{name_object(found, one)} and object {found.object_id[other]}: {iou:.2f}"
        for one, other, iou in pairs[:EXAMPLES]
    )
    return [Finding("double contour", len(pairs), "note", text, some)]


def check_files(found: Annotations, folder: Path) -> list[Finding]:
    """Image files that are missing or have another size than the annotations say."""
    missing, unreadable, differ = [], [], []
    for number, name in enumerate(found.names):
        path = find_image(folder, name)
        stated = tuple(found.size[number].tolist())
        size = read_size(path) if path else (0, 0)
        if path is None:
            missing.append(number)
        elif not all(size):
            unreadable.append(number)
        elif all(stated) and size != stated:
            differ.append(number)
    return [
        of_images(found, "no file", "wrong", f"images have no file in {folder}", missing),
        of_images(found, "unreadable", "wrong", "images have a file that is none", unreadable),
        of_images(
            found, "size differs", "wrong", "images have another size than is stated", differ
        ),
    ]


def check_known(found: Annotations, known: Known, split: str) -> list[Finding]:
    """Counts and sizes that a published set is to have, and the flaws that it is known for."""
    findings = [_check_size(found, known)]
    for flaw in known.flaws:
        text = f"images are known for {flaw}" + ("; left out" if flaw in known.left_out else "")
        grade = "mended" if flaw in known.left_out else "note"
        findings.append(of_images(found, flaw, grade, text, known.flawed(found.names, flaw)))
    if split:
        if split not in known.splits:
            raise ValueError(f"{known.name} has splits {', '.join(known.splits)}, not {split!r}")
        findings += _check_counts(found, known, split)
    return findings


def _check_size(found: Annotations, known: Known) -> Finding:
    bad = np.flatnonzero((found.size != known.size).any(axis=1) & (found.size > 0).all(axis=1))
    height, width = known.size
    sizes = {tuple(size) for size in found.size[bad].tolist()}
    copies = [f"; {text}" for size, text in known.copies.items() if size in sizes]
    text = f"images are not {width} x {height}{''.join(copies)}: do not mix copies"
    return of_images(found, "another copy", "wrong", text, bad.tolist())


def _check_counts(found: Annotations, known: Known, split: str) -> list[Finding]:
    expected = known.splits[split]
    wanted = {"images": expected.images, "image ids": expected.ids, **dict(expected.objects)}
    have = {"images": len(set(found.names)), "image ids": len(found.names), **found.per_class()}
    return [
        Finding(
            "count",
            abs(have.get(what, 0) - number),
            "wrong",
            f"{what} too {'few' if have.get(what, 0) < number else 'many'}: {known.name} {split} "
            f"has {number:,}, here are {have.get(what, 0):,}",
        )
        for what, number in wanted.items()
    ]
