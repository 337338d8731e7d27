"""One form for the annotations of every format: arrays, a row per object.

M images, A objects, K classes, R rings, V values. Coordinates are pixels in float64, x to the
right, y down, half-open as in COCO: pixel 0 covers 0 to 1, and a box is (x0, y0, x1, y1) with width
x1 - x0. An object takes 67 bytes and its rings 8 bytes each and 8 per value (two per vertex).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from .exact import Exact, no_rows

CROWD, DIFFICULT, TRUNCATED, OCCLUDED, BOX = 1, 2, 4, 8, 16
"""Bits of `flags` and `stated`; BOX is stated where the file has a box beside a mask."""
NONE, POLYGON, RLE_TEXT, RLE_COUNTS = 0, 1, 2, 3
"""Kinds of mask: none, rings, COCO run lengths in their compressed text or as a list."""

Column = dict[int, Any]
"""What few or odd rows have beside the arrays: row number -> value."""


@dataclass(frozen=True, eq=False)
class Masks:
    """Shapes of A objects: object i has rings first[i]:first[i+1], ring r values start[r]:..."""

    kind: np.ndarray
    """(A,) uint8."""
    first: np.ndarray
    """(A+1,) int64."""
    start: np.ndarray
    """(R+1,) int64."""
    values: np.ndarray
    """(V,) float64: x0 y0 x1 y1 ... of a polygon's ring, or run lengths (a mask has one ring)."""

    def rings(self, number: int) -> list[np.ndarray]:
        """The rings of one object: (n,) float64 each."""
        places = range(int(self.first[number]), int(self.first[number + 1]))
        return [self.values[self.start[r] : self.start[r + 1]] for r in places]

    def select(self, keep: np.ndarray) -> tuple[Masks, np.ndarray]:
        """Masks of the objects where `keep` (A,) bool is set, and which values stay, (V,) bool."""
        rings = np.repeat(keep, np.diff(self.first))
        values = np.repeat(rings, np.diff(self.start))
        first, start = (
            np.concatenate([[0], np.cumsum(np.diff(offsets)[mask])]).astype(np.int64)
            for offsets, mask in ((self.first, keep), (self.start, rings))
        )
        return Masks(self.kind[keep], first, start, self.values[values]), values


@dataclass(frozen=True, eq=False)
class Kept:
    """What only the format read has a place for; a writer of the same format puts it back."""

    top: dict[str, Any] = field(default_factory=dict)
    images: dict[str, Column] = field(default_factory=dict)
    objects: dict[str, Column] = field(default_factory=dict)
    classes: dict[str, Column] = field(default_factory=dict)
    box: Exact = field(default_factory=lambda: no_rows(4))
    values: Exact = field(default_factory=no_rows)


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images and the objects in them. Frozen: `select` and `dataclasses.replace` make others."""

    format: str
    """What it was read from: voc, coco, yolo or jsonl."""
    names: tuple[str, ...]
    """M image files as the format names them; one may stand there twice (under several ids)."""
    size: np.ndarray
    """(M,2) int32: height and width in pixels, 0 where the file does not say."""
    image_id: np.ndarray
    """(M,) int64: COCO's; elsewhere 1, 2, ..."""
    classes: tuple[str, ...]
    class_id: np.ndarray
    """(K,) int64: COCO's ids, YOLO's numbers."""
    declared: np.ndarray
    """(K,) bool: False where objects name a class that the format's list of classes lacks."""
    image: np.ndarray
    """(A,) int32: the object's image, a place in `names`."""
    label: np.ndarray
    """(A,) int32: a place in `classes`."""
    box: np.ndarray
    """(A,4) float64."""
    flags: np.ndarray
    """(A,) uint8: CROWD, DIFFICULT, TRUNCATED, OCCLUDED."""
    stated: np.ndarray
    """(A,) uint8: which of these the file says at all, and BOX."""
    object_id: np.ndarray
    """(A,) int64: COCO's; elsewhere 1, 2, ..."""
    area: np.ndarray
    """(A,) float64: the mask's pixels as COCO states them, NaN where nobody does."""
    masks: Masks
    kept: Kept = field(default_factory=Kept)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays of objects; names and what `kept` holds are not counted."""
        own = (self.image, self.label, self.box, self.flags, self.stated, self.object_id, self.area)
        masks = (self.masks.kind, self.masks.first, self.masks.start, self.masks.values)
        return sum(array.nbytes for array in (*own, *masks))

    def per_image(self) -> np.ndarray:
        """(M,) int64: objects of each image."""
        return np.bincount(self.image, minlength=len(self.names))

    def per_class(self) -> dict[str, int]:
        """Objects of each class by name (classes of one name are added up)."""
        found: dict[str, int] = dict.fromkeys(self.classes, 0)
        counts = np.bincount(self.label, minlength=len(self.classes)).tolist()
        for name, count in zip(self.classes, counts, strict=True):
            found[name] += count
        return found

    def mask_size(self, number: int) -> tuple[int, int]:
        """(height, width) of an object's run lengths: the image's, unless they say otherwise."""
        own = self.kept.objects.get("/size", {}).get(number)
        height, width = own or self.size[self.image[number]].tolist()
        return height, width

    def select(self, objects: np.ndarray, images: np.ndarray | None = None) -> Annotations:
        """The objects where `objects` (A,) bool is set, in the images where `images` (M,) is.

        Objects of images that go, go too. Order stays, and so does everything kept of the rest.
        """
        stay = np.ones(len(self.names), bool) if images is None else images
        keep = objects & stay[self.image]
        masks, values = self.masks.select(keep)
        columns = "label box flags stated object_id area".split()
        return replace(
            self,
            names=tuple(name for name, good in zip(self.names, stay.tolist(), strict=True) if good),
            size=self.size[stay],
            image_id=self.image_id[stay],
            image=(np.cumsum(stay) - 1).astype(np.int32)[self.image[keep]],
            masks=masks,
            kept=_select_kept(self.kept, keep, stay, values),
            **{name: getattr(self, name)[keep] for name in columns},
        )

    def differs(self, other: Annotations) -> str:
        """The first field in which two differ, "" where every one is equal (15 equals 15.0)."""
        for here, there, name in _pairs(self, other, ""):
            if isinstance(here, np.ndarray):
                nan = here.dtype.kind == "f"
                if not np.array_equal(here, there, equal_nan=nan):
                    return name
            elif here != there:
                return name
        return ""


def _pairs(one: Any, other: Any, prefix: str) -> list[tuple[Any, Any, str]]:
    found = []
    for item in fields(one):
        here, there, name = getattr(one, item.name), getattr(other, item.name), prefix + item.name
        if isinstance(here, Masks | Kept | Exact):
            found += _pairs(here, there, f"{name}.")
        else:
            found.append((here, there, name))
    return found


def _select_kept(kept: Kept, keep: np.ndarray, stay: np.ndarray, values: np.ndarray) -> Kept:
    return replace(
        kept,
        images={name: _renumber(column, stay) for name, column in kept.images.items()},
        objects={name: _renumber(column, keep) for name, column in kept.objects.items()},
        box=kept.box.select(keep),
        values=kept.values.select(values),
    )


def _renumber(column: Column, keep: np.ndarray) -> Column:
    place = (np.cumsum(keep) - 1).tolist()
    return {place[row]: value for row, value in column.items() if keep[row]}
