"""Annotations under construction: readers add objects, then close the table."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from .table import NONE, Annotations, Column, Kept, Masks
from .wrong import Malformed

NUMBERS = {int, float}
LARGEST = 1e15
"""Coordinates beyond this are no pixels, and their products would leave float64."""


class Rows:
    """Typed arrays that grow; a million objects never exist as Python objects at one time."""

    def __init__(self) -> None:
        self.image, self.label, self.object_id = array("i"), array("i"), array("q")
        self.box, self.area, self.values = array("d"), array("d"), array("d")
        self.flags, self.stated, self.kind = bytearray(), bytearray(), bytearray()
        self.first, self.start = array("q", [0]), array("q", [0])
        self.extra: dict[str, Column] = {}

    def __len__(self) -> int:
        return len(self.kind)

    def add_ring(self, values: Sequence[float]) -> None:
        """A ring, or the run lengths, of the object that `close_object` ends. Raises Malformed."""
        if type(values) is not list or not NUMBERS.issuperset(map(type, values)):
            raise Malformed("a ring of its mask is no list of numbers; write [x, y, x, y, ...]")
        self.values.extend(values)
        self.start.append(len(self.values))

    def close_object(self, kind: int = NONE) -> None:
        """End an object whose rings were added."""
        self.kind.append(kind)
        self.first.append(len(self.start) - 1)

    def keep(self, name: str, value: Any) -> None:
        """Keep a value of the object that comes next."""
        self.extra.setdefault(name, {})[len(self.kind)] = value

    def masks(self) -> Masks:
        """What was added, without a copy."""
        return Masks(
            view(self.kind, np.uint8),
            view(self.first, np.int64),
            view(self.start, np.int64),
            view(self.values, np.float64),
        )

    def close(
        self,
        format: str,
        images: tuple[tuple[str, ...], np.ndarray, np.ndarray],
        classes: tuple[tuple[str, ...], np.ndarray, np.ndarray],
        kept: Kept,
    ) -> Annotations:
        """The frozen table: `images` are names, sizes and ids, `classes` names, ids, declared.

        Where ids or areas were left out they are 1, 2, ... and NaN.
        """
        count = len(self)
        ids, area = view(self.object_id, np.int64), view(self.area, np.float64)
        return Annotations(
            format,
            *images,
            *classes,
            image=view(self.image, np.int32),
            label=view(self.label, np.int32),
            box=view(self.box, np.float64).reshape(-1, 4),
            flags=view(self.flags, np.uint8),
            stated=view(self.stated, np.uint8),
            object_id=ids if len(ids) else np.arange(1, count + 1),
            area=area if len(area) else np.full(count, np.nan),
            masks=self.masks(),
            kept=kept,
        )


def view(values: array | bytearray, dtype: type) -> np.ndarray:
    """The numbers of an array as numpy, without a copy; (0,) of an empty one."""
    return np.frombuffer(values, dtype) if len(values) else np.zeros(0, dtype)


def check_box(box: Any, what: str) -> list[float]:
    """`box` where it is a list of four finite numbers. Raises Malformed that says `what` it is."""
    if type(box) is not list or len(box) != 4 or not NUMBERS.issuperset(map(type, box)):
        raise Malformed(f"{what} is not four numbers; write four")
    if not all(-LARGEST < value < LARGEST for value in box):  # NaN too
        raise Malformed(f"{what} holds a number that is no pixel (NaN, infinite or huge); mend it")
    return box


def check_extent(x0: float, y0: float, x1: float, y1: float) -> None:
    """Raises Malformed where a box has a negative width or height; zero is the validator's."""
    if x1 < x0 or y1 < y0:
        raise Malformed("the box has a negative width or height; swap its corners or remove it")


def number_classes(labels: Sequence[str], declared: Sequence[str]) -> dict[str, int]:
    """Class name -> place: `declared` in their order, then what objects name beside them, sorted.

    Without a list of classes the sorted names of the objects are one.
    """
    known = list(dict.fromkeys(declared))
    beside = sorted(set(labels) - set(known))
    return {name: place for place, name in enumerate([*known, *beside])}


def close_classes(
    places: dict[str, int], declared: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """(names, ids counting from 1, declared), what `Rows.close` takes."""
    names = tuple(places)
    listed = np.array([not declared or name in declared for name in names], bool)
    return names, np.arange(1, len(names) + 1), listed
