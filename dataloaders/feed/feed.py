"""Store to batches: which images, at which mip level, with which draws.

What a feed yields depends on the manifest, the recipe and the seed, never on the store: packed,
resident and streamed feeds give the same batches to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ...kernels.sample.augment import Augment
from ...kernels.sample.params import at_level, choose_level, plain, resolve
from ..batch import Batch
from ..order import Order
from .members import Members, refuse_many
from .store import Held, Store

NO_PIXELS = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True, eq=False)
class Shuffle:
    """How an epoch is ordered, beside its seed; see order.py."""

    window: int = 0
    """Samples that are mixed at a time; 0 mixes the whole split."""
    weight: np.ndarray | None = None
    """(n,) float64 of the split's members: how often each comes beside the others."""


PLAIN = Shuffle()


class Feed:
    """Batches of one split. ValueError where `members` is empty."""

    def __init__(
        self,
        store: Store,
        members: Members,
        augment: Augment,
        seed: int,
        shuffle: Shuffle = PLAIN,
    ) -> None:
        self.store, self.members, self.augment, self.seed = store, members, augment, seed
        count = len(members.number)
        self.order = Order(seed, count, window=shuffle.window, weight=shuffle.weight)
        self._bad: set[int] = set()

    def ahead(self, stretches: Iterable[tuple[int, int]]) -> None:
        """(position, length) of every `train` that is to come: a stream begins with them."""
        places = (self.order.at(position, length)[0] for position, length in stretches)
        self.store.ahead(self.members.pixels_of[found] for found in places)

    def train(self, position: int, length: int, size: int) -> Batch:
        """The `length` samples of the global order from `position` on, augmented for S = `size`.

        A rank takes its own stretch of positions; a sample's draws depend on (seed, epoch, index).
        """
        places, epochs = self.order.at(position, length)
        numbers = self.members.number[places]
        held = self._take(places)
        shape = held.shape[:, 0]
        params = resolve(self.augment, shape, size, seed=self.seed, epoch=epochs, index=numbers)
        return self._batch(places, held, params, size, np.ones(length, bool))

    def peek(self, position: int, length: int) -> Batch:
        """Targets, index and valid of `length` samples of the global order, without pixels.

        Enough for `Task.count`: every rank knows the global counts without asking the others.
        """
        places, _ = self.order.at(position, length)
        none = torch.zeros((length, 0), dtype=torch.int32)
        start = torch.zeros(length, dtype=torch.int64)
        return self._batch_of(places, (NO_PIXELS, start, none), none, 0, np.ones(length, bool))

    def once(self, length: int, size: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Every sample once, in the order of `members`, plainly resized, `length` at a time.

        A rank takes its stretch of them, in as many batches as every other rank. Batches are
        padded with the last sample, and `valid` is False there and where an image cannot be read.
        """
        count = len(self.members.number)
        share = -(-count // world)
        end = min(count, (rank + 1) * share)
        firsts = range(rank * share, (rank + 1) * share, length)
        stretches = [np.arange(first, first + length) for first in firsts]
        clipped = [np.minimum(places, count - 1) for places in stretches]
        self.store.ahead(self.members.pixels_of[places] for places in clipped)
        for places, wanted in zip(clipped, stretches, strict=True):
            held = self._take(places)
            valid = (wanted < end) & ~np.isin(self.members.number[places], list(self._bad))
            params = plain(self.augment, held.shape[:, 0], size)
            yield self._batch(places, held, params, size, valid)

    def _take(self, places: np.ndarray) -> Held:
        """The images of these places; what turns out unreadable is replaced as `Members` says."""
        held = self.store.take(self.members.pixels_of[places])
        bad = np.flatnonzero(held.levels == 0)
        if not len(bad):
            return held
        self._bad |= {int(n) for n in self.members.pixels_of[places][bad]}
        refuse_many(self._bad, self.members, self.store.unreadable)
        for place in set(places[bad].tolist()):
            self._replace(place)
        return self._take(places)

    def _replace(self, place: int) -> None:
        """Let the next readable image of the class stand in: the same one on every rank."""
        own = np.flatnonzero(self.members.label == self.members.label[place])
        turned = np.roll(own, -int(np.searchsorted(own, place)))
        for candidate in self.members.number[turned].tolist():
            if candidate in self.store.unreadable:
                continue
            if self.store.take(np.array([candidate])).levels[0]:
                bad = int(self.members.pixels_of[place])
                self.members.pixels_of[place] = candidate
                self.store.replace(bad, candidate)
                return
            self._bad.add(candidate)
        refuse_many(self._bad, self.members, self.store.unreadable, len(own))

    def _batch(
        self, places: np.ndarray, held: Held, params: np.ndarray, size: int, valid: np.ndarray
    ) -> Batch:
        level = choose_level(params, held.levels)
        pixels, start, shape = held.cut(level)
        where = (pixels, torch.from_numpy(start), torch.from_numpy(shape))
        return self._batch_of(places, where, torch.from_numpy(at_level(params, level)), size, valid)

    def _batch_of(
        self,
        places: np.ndarray,
        where: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        params: torch.Tensor,
        size: int,
        valid: np.ndarray,
    ) -> Batch:
        pixels, start, shape = where
        return Batch(
            pixels=pixels,
            start=start,
            shape=shape,
            params=params,
            target={"label": torch.from_numpy(self.members.label[places])},
            index=torch.from_numpy(self.members.number[places]),
            valid=torch.from_numpy(valid),
            size=size,
        )
