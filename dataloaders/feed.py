"""Pack to batches: which images, at which mip level, with which draws. No pixel is copied.

Feed mode "pack": `Batch.pixels` is the memory map itself, and the kernel reads the page cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..kernels.sample.params import Augment, at_level, choose_level, plain, resolve
from .batch import Batch
from .errors import DataError
from .order import Order
from .pack import Pack

BAD_SHARE = 0.05


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
    pack: Pack,
    label: np.ndarray,
    members: np.ndarray,
    *,
    train: bool,
    classes: Sequence[str] = (),
) -> Members:
    """Leave unreadable images out of a split: (M,) labels, (n,) manifest numbers.

    In training each is replaced by the next readable image of its class in the order of `members`
    (after the last comes the first), so an epoch keeps its length on every rank; in evaluation it
    is left out and counted in the report. `classes` names classes in errors. Raises DataError
    where more than 5 % cannot be read, or no image of a class.
    """
    bad = np.isin(members, list(pack.unreadable))
    if bad.sum() > BAD_SHARE * len(members):
        reason = pack.unreadable[int(members[bad][0])]
        raise DataError(
            f"{bad.sum():,} of {len(members):,} images cannot be read ({bad.mean():.1%}, limit "
            f"{BAD_SHARE:.0%}; the first: {reason}); mend or remove the files that "
            f"{pack.folder / 'unreadable.json'} lists"
        )
    own, stand_in = label[members], members.copy()
    for number in np.unique(own[bad]).tolist():
        places, good = (np.flatnonzero((own == number) & side) for side in (bad, ~bad))
        if not len(good):
            name = classes[number] if classes else f"number {number}"
            raise DataError(
                f"none of the {len(places)} images of class {name} can be read; mend or remove the "
                f"files that {pack.folder / 'unreadable.json'} lists"
            )
        stand_in[places] = members[good[np.searchsorted(good, places) % len(good)]]
    if train:
        return Members(members, stand_in, own)
    return Members(members[~bad], members[~bad], own[~bad])


class Feed:
    """Batches of one split of a pack; `Batch.pixels` is always the whole of it.

    ValueError where `members` is empty.
    """

    def __init__(self, pack: Pack, members: Members, augment: Augment, seed: int) -> None:
        self.pack, self.members, self.augment, self.seed = pack, members, augment, seed
        self.pixels = torch.from_numpy(pack.pixels)
        self.order = Order(seed, len(members.number))

    def train(self, position: int, length: int, size: int) -> Batch:
        """The `length` samples of the global order from `position` on, augmented for S = `size`.

        A rank takes its own stretch of positions; a sample's draws depend on (seed, epoch, index).
        """
        places, epochs = self.order.at(position, length)
        numbers = self.members.number[places]
        shape = self._full_shape(places)
        params = resolve(self.augment, shape, size, seed=self.seed, epoch=epochs, index=numbers)
        return self._batch(places, params, size, np.ones(length, bool))

    def peek(self, position: int, length: int) -> Batch:
        """Targets, index and valid of `length` samples of the global order, without pixels.

        Enough for `Task.count`: every rank knows the global counts without asking the others.
        """
        places, _ = self.order.at(position, length)
        rows = np.zeros((length, 0), np.int32)
        return self._batch_of(places, np.zeros(length, np.int64), rows, rows, np.ones(length, bool))

    def once(self, length: int, size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Every sample once, in the order of `members`, plainly resized, `length` at a time.

        A rank takes its stretch of them, in as many batches as every other rank. Batches are
        padded with the last sample, and `valid` is False there.
        """
        count = len(self.members.number)
        share = -(-count // world)
        end = min(count, (rank + 1) * share)
        for first in range(rank * share, (rank + 1) * share, length):
            places = np.arange(first, first + length)
            valid = places < end
            places = np.minimum(places, count - 1)
            params = plain(self.augment.fit, self._full_shape(places), size)
            yield self._batch(places, params, size, valid)

    def _full_shape(self, places: np.ndarray) -> np.ndarray:
        return self.pack.shape[self.members.pixels_of[places], 0]

    def _batch(self, places: np.ndarray, params: np.ndarray, size: int, valid: np.ndarray) -> Batch:
        rows = self.members.pixels_of[places]
        level = choose_level(params, size, self.pack.levels[rows])
        start, shape = self.pack.start[rows, level], self.pack.shape[rows, level]
        return self._batch_of(places, start, shape, at_level(params, level), valid, size)

    def _batch_of(
        self,
        places: np.ndarray,
        start: np.ndarray,
        shape: np.ndarray,
        params: np.ndarray,
        valid: np.ndarray,
        size: int = 0,
    ) -> Batch:
        return Batch(
            pixels=self.pixels,
            start=torch.from_numpy(start),
            shape=torch.from_numpy(shape),
            params=torch.from_numpy(params),
            target={"label": torch.from_numpy(self.members.label[places])},
            index=torch.from_numpy(self.members.number[places]),
            valid=torch.from_numpy(valid),
            size=size,
        )
