"""Who is in a split, and whose pixels stand in where an image cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError

BAD_SHARE = 0.05
MEND = "mend or remove the files that `foveate data verify` lists"


@dataclass(frozen=True)
class Members:
    """One split: manifest numbers, and for each the number whose pixels stand in for it."""

    number: np.ndarray
    """(n,) int64."""
    pixels_of: np.ndarray
    """(n,) int64: `number` itself unless that image cannot be read."""
    label: np.ndarray
    """(n,) int64."""


def choose_members(
    unreadable: Mapping[int, str],
    label: np.ndarray,
    members: np.ndarray,
    *,
    train: bool,
    classes: Sequence[str] = (),
) -> Members:
    """Leave unreadable images out of a split: number -> reason, (M,) labels, (n,) numbers.

    In training each is replaced by the next readable image of its class in the order of `members`
    (after the last comes the first), so an epoch keeps its length on every rank; in evaluation it
    is left out and counted in the report. `classes` names classes in errors. Raises DataError
    where more than 5 % cannot be read, or no image of a class.
    """
    bad = np.isin(members, list(unreadable))
    own, stand_in = label[members], members.copy()
    refuse_many(members[bad].tolist(), Members(members, members, own), unreadable)
    for number in np.unique(own[bad]).tolist():
        places, good = (np.flatnonzero((own == number) & side) for side in (bad, ~bad))
        if not len(good):
            name = classes[number] if classes else f"number {number}"
            raise DataError(f"none of the {len(places)} images of class {name} can be read; {MEND}")
        stand_in[places] = members[good[np.searchsorted(good, places) % len(good)]]
    if train:
        return Members(members, stand_in, own)
    return Members(members[~bad], members[~bad].copy(), own[~bad])


def refuse_many(
    bad: Collection[int], members: Members, reasons: Mapping[int, str], most: int = 0
) -> None:
    """Raise DataError where more than 5 % of a split cannot be read, or as many as `most`."""
    count, total = len(bad), len(members.number)
    if count > BAD_SHARE * total or (most and count >= most):
        reason = reasons.get(next(iter(bad)), "")
        raise DataError(
            f"{count:,} of {total:,} images cannot be read ({count / total:.1%}, limit "
            f"{BAD_SHARE:.0%}; the first: {reason}); {MEND}"
        )
