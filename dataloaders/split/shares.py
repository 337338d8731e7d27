"""Cutting a set into parts by whole groups, with every class in every part in the wanted shares.

Groups differ in size and mix of classes, so shares cannot be met to the image. Largest groups go
first, each to the part where it lowers the chi-square distance to the wanted counts most; small
ones even out what large ones left. How far the cut is from the wanted shares is part of the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import DataError


@dataclass(frozen=True)
class Cut:
    """Which part every image went to."""

    part: np.ndarray
    """(M,) str."""
    counts: np.ndarray
    """(P,K) int64: images per part and class."""
    off: float
    """Largest distance of a class's share in a part from the wanted one, from 0 to 1."""
    largest: float
    """Share of its class that the largest group has: a cut may have to be off by as much."""


def cut_groups(
    label: np.ndarray,
    group: np.ndarray,
    shares: Mapping[str, float],
    *,
    stratify: bool = True,
    seed: int = 0,
    names: tuple[str, ...] = (),
) -> Cut:
    """(M,) int64 classes and (M,) str groups -> the part of every image, by whole groups.

    Depends on classes, group names and the seed alone, not on the order of the images. Without
    `stratify` only the number of images counts; every class must be in every part all the same.
    Raises DataError where that cannot be, with what to do. 0.6 s for 20,000 groups.
    """
    parts, wanted = list(shares), np.array(list(shares.values()), float)
    units, unit = np.unique(group, return_inverse=True)
    classes = int(label.max()) + 1 if len(label) else 0
    mix = np.zeros((len(units), classes), np.int64)
    np.add.at(mix, (unit, label), 1)
    order = _order(units.tolist(), mix, seed)
    side = np.full(len(units), -1)
    _seed_classes(side, mix, order, wanted)
    _fill(side, mix if stratify else mix.sum(1, keepdims=True), order, wanted)
    counts = np.stack([mix[side == number].sum(0) for number in range(len(parts))])
    _check(counts, mix, parts, names)
    have = counts / np.maximum(mix.sum(0), 1)
    return Cut(
        part=np.array(parts)[side[unit]],
        counts=counts,
        off=float(np.abs(have - wanted[:, None]).max()),
        largest=float((mix / np.maximum(mix.sum(0), 1)).max()),
    )


def _order(units: list[str], mix: np.ndarray, seed: int) -> np.ndarray:
    """(U,) groups, largest first; among equals the names and the seed decide."""
    digests = [
        hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogateescape")).digest()
        for name in units
    ]
    size = mix.sum(1).tolist()
    return np.array(sorted(range(len(units)), key=lambda n: (-size[n], digests[n])), np.int64)


def _seed_classes(side: np.ndarray, mix: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> None:
    """Give every part one group of every class, smallest groups and rarest classes first."""
    groups_of = (mix > 0).sum(0)
    for kind in np.argsort(groups_of, kind="stable"):
        for part in np.argsort(wanted, kind="stable"):
            if (side == part)[mix[:, kind] > 0].any():
                continue
            free = [n for n in order[::-1] if side[n] < 0 and mix[n, kind]]
            if free:
                side[free[0]] = part


def _fill(side: np.ndarray, mix: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> None:
    """Put each free group where it brings the counts nearest to the wanted ones."""
    total = np.maximum(mix.sum(0), 1)
    goal = wanted[:, None] * total
    lack = goal - np.stack([mix[side == part].sum(0) for part in range(len(wanted))])
    for number in order[side[order] < 0]:
        own = mix[number]
        cost = ((own * own - 2 * lack * own) / goal).sum(1)
        part = int(np.argmin(cost))
        side[number] = part
        lack[part] -= own


def _check(counts: np.ndarray, mix: np.ndarray, parts: list[str], names: tuple[str, ...]) -> None:
    """Raises DataError for a class that a part has none of."""
    for part, kind in np.argwhere(counts == 0).tolist():
        groups = int((mix[:, kind] > 0).sum())
        name = (names[kind] or "images") if names else str(kind)
        raise DataError(
            f"part {parts[part]} would have no image of class {name}, which has "
            f"{mix[:, kind].sum():,} images in {groups} groups; give fewer --parts, add images of "
            "that class, or check that --by does not put many patients into one group"
        )
