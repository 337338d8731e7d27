"""A COCO file that was read becomes a table: ids looked up, run lengths decoded, all checked.

The checks are on whole arrays: for a million cells they take a second or two.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .exact import find_exact
from .rle import check_counts, decode_texts, encode_texts
from .rows import LARGEST, Rows, view
from .shapes import bound_object, bound_polygons
from .table import BOX, RLE_COUNTS, RLE_TEXT, Annotations, Column, Kept, Masks
from .wrong import place_error

LISTS = ("images", "annotations", "categories")


@dataclass
class Raw:
    """Everything of one file, ids as it writes them: its lists may come in any order."""

    rows: Rows = field(default_factory=Rows)
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    top: dict[str, Any] = field(default_factory=dict)
    """Members that are no list of rows; "/images" and so on is how a list began, "[" or "{"."""
    images: dict[str, Column] = field(default_factory=dict)
    classes: dict[str, Column] = field(default_factory=dict)
    image_of: array = field(default_factory=lambda: array("q"))
    class_of: array = field(default_factory=lambda: array("q"))
    texts: list[tuple[int, str]] = field(default_factory=list)
    """Object and compressed run lengths."""
    mask_sizes: dict[int, tuple[int, int]] = field(default_factory=dict)


def close_table(raw: Raw, path: Path) -> Annotations:
    """Raises DataError where a list is missing, an id is unknown or doubled, a number is none."""
    for key in ("images", "annotations"):
        if f"/{key}" not in raw.top:
            raise DataError(f"{path} has no list {key!r}; name a file of COCO annotations")
    how = {f"/{key}": raw.top.pop(f"/{key}", "") for key in LISTS}
    top = raw.top | {key: sign for key, sign in how.items() if sign != "["}
    image = _look_up(view(raw.image_of, np.int64), raw.image_ids, path, "images")
    if (image < 0).any():
        raise place_error(
            path,
            f"annotations[{np.flatnonzero(image < 0)[0]}]",
            "its image_id is of no image; add the image or remove the entry",
        )
    raw.rows.image = array("i", image.astype(np.int32).tobytes())
    label, classes = _classes(raw, path)
    raw.rows.label = array("i", label.astype(np.int32).tobytes())
    ids = np.array(raw.image_ids, np.int64)
    size = np.array(raw.sizes, np.int32).reshape(-1, 2)
    kept = Kept(top, raw.images, raw.rows.extra, raw.classes)
    found = raw.rows.close("coco", (tuple(raw.names), size, ids), classes, kept)
    return _boxes(_decode(found, raw, path), path)


def _look_up(wanted: np.ndarray, ids: list[int], path: Path, what: str) -> np.ndarray:
    """(n,) ids -> (n,) places in `ids`, -1 where there is none."""
    known = np.array(ids, np.int64)
    order = np.argsort(known, kind="stable")
    twice = np.flatnonzero(known[order][1:] == known[order][:-1])
    if len(twice):
        raise place_error(
            path, f"{what}[{order[twice[0] + 1]}]", "its id stands there twice; give each its own"
        )
    if not len(known):
        return np.full(len(wanted), -1)
    place = np.searchsorted(known, wanted, sorter=order).clip(0, len(known) - 1)
    return np.where(known[order[place]] == wanted, order[place], -1)


def _classes(raw: Raw, path: Path) -> tuple[np.ndarray, tuple[tuple[str, ...], Any, Any]]:
    """Places of the objects' classes, and the classes; ids that no category has come last."""
    wanted = view(raw.class_of, np.int64)
    label = _look_up(wanted, raw.class_ids, path, "categories")
    beside = np.unique(wanted[label < 0])
    label[label < 0] = len(raw.class_ids) + np.searchsorted(beside, wanted[label < 0])
    names = (*raw.class_names, *(f"category {n}" for n in beside.tolist()))
    ids = np.array([*raw.class_ids, *beside.tolist()], np.int64)
    return label, (names, ids, np.arange(len(names)) < len(raw.class_ids))


def _decode(found: Annotations, raw: Raw, path: Path) -> Annotations:
    """Put decoded run lengths in, and hold all of them against their mask's size."""
    if not raw.mask_sizes:
        return found
    odd = {
        n: list(size)
        for n, size in raw.mask_sizes.items()
        if tuple(found.size[found.image[n]]) != size
    }
    kept = found.kept.objects | ({"/size": odd} if odd else {})
    if raw.texts:
        numbers = np.array([n for n, _ in raw.texts])
        texts = [text for _, text in raw.texts]
        try:
            counts, start = decode_texts(texts)
        except ValueError as error:
            raise _bad_runs(path, texts, numbers, error) from None
        again = encode_texts(counts, start)
        own = zip(numbers.tolist(), texts, again, strict=True)
        if odd_texts := {n: text for n, text, same in own if text != same}:
            kept["/counts"] = odd_texts
        found = replace(found, masks=_insert(found.masks, numbers, counts, start))
    _check_runs(found.masks, raw, path)
    return replace(found, kept=replace(found.kept, objects=kept))


def _insert(masks: Masks, numbers: np.ndarray, counts: np.ndarray, start: np.ndarray) -> Masks:
    """Masks with the empty rings of the objects `numbers` filled."""
    length = np.diff(masks.start)
    ring = masks.first[numbers]
    fresh = length.copy()
    fresh[ring] = np.diff(start)
    starts = np.concatenate([[0], np.cumsum(fresh)])
    values = np.empty(starts[-1])
    filled = np.zeros(len(fresh), bool)
    filled[ring] = True
    inside = np.repeat(filled, fresh)
    values[inside], values[~inside] = counts, masks.values
    return replace(masks, start=starts, values=values)


def _check_runs(masks: Masks, raw: Raw, path: Path) -> None:
    numbers = np.array(list(raw.mask_sizes))
    pixels = np.array([height * width for height, width in raw.mask_sizes.values()])
    ring = masks.first[numbers]
    length = masks.start[ring + 1] - masks.start[ring]
    start = np.concatenate([[0], np.cumsum(length)])
    own = (
        np.arange(start[-1]) - np.repeat(start[:-1], length) + np.repeat(masks.start[ring], length)
    )
    bad = check_counts(masks.values[own], start, pixels)
    if bad >= 0:
        raise place_error(
            path,
            f"annotations[{numbers[bad]}]",
            "segmentation.counts do not add up to its size; mend or remove the mask",
        )


def _bad_runs(path: Path, texts: list[str], numbers: np.ndarray, error: ValueError) -> DataError:
    """Which of many texts cannot be decoded."""
    for number, text in zip(numbers.tolist(), texts, strict=True):
        try:
            decode_texts([text])
        except ValueError as own:
            return place_error(path, f"annotations[{number}]", f"{own}; mend or remove the mask")
    return place_error(path, "annotations", error)


def _boxes(found: Annotations, path: Path) -> Annotations:
    """Corners from x, y, width and height; around the mask where none is stated."""
    values = found.masks.values
    # Minimum and maximum pass NaN on, and need no copy of what may be a gigabyte.
    if len(values) and not -LARGEST < values.min() <= values.max() < LARGEST:
        bad = np.flatnonzero(~(np.abs(values) < LARGEST))
        ring = int(np.searchsorted(found.masks.start, bad[0], side="right")) - 1
        number = int(np.searchsorted(found.masks.first, ring, side="right")) - 1
        raise place_error(
            path, f"annotations[{number}]", "its mask has a number that is no pixel; mend it"
        )
    written = found.box
    box = written.copy()
    box[:, 2:] += written[:, :2]
    exact = find_exact(box, written, to_written(box))
    unstated = np.flatnonzero(found.stated & BOX == 0)
    found = replace(found, kept=replace(found.kept, box=exact))
    if len(unstated):
        around = bound_polygons(found.masks)
        runs = np.isin(found.masks.kind[unstated], (RLE_TEXT, RLE_COUNTS))
        box[unstated] = around[unstated]
        for number in unstated[runs].tolist():
            box[number] = bound_object(found, number)
    return replace(found, box=box)


def to_written(box: np.ndarray) -> np.ndarray:
    """(A,4) corners -> (A,4) x, y, width, height.

    Sides are rounded to 9 decimals: (x + w) - x misses w by a bit in 98 of 100 boxes that a file
    gives with two decimals, rounded it is w in all of them.
    """
    return np.concatenate([box[:, :2], np.round(box[:, 2:] - box[:, :2], 9)], axis=1)
