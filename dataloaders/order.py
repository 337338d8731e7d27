"""The global order of samples: a pure function of (seed, epoch, position), whatever the machine.

Any number of ranks that divides the batch sees the same global batches, and a run resumes at any
sample, because the whole state is three numbers: seed, number of samples, position.

Three orders, each a function of the recipe and never of memory, disks or ranks:

    whole      every sample once in an epoch, in a permutation of all
    windowed   the same, but runs of RUN neighbours stay within a window that moves over the
               storage: for packs that do not fit in memory
    weighted   samples come in proportion to weights: each either floor or ceil of its share times
"""

from __future__ import annotations

import numpy as np

from ..kernels import draws

RUN = 64
"""Neighbours in storage that a windowed order reads together: 64 scans of 496x768 are 24 MB."""
COPY_BITS = 20
"""A sample that a weighted epoch repeats draws anew each time: its copy's number goes above the
epoch's, which has 20 bits."""
COPIES = 1 << 32 - COPY_BITS
"""So many copies have draws of their own; those after them repeat the first ones' draws."""


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64: the order of one epoch. Sorting counter-based words needs no state.

    seed in [0, 2^63), epoch in [0, 2^32), else ValueError. 12 ms for 83,484.
    """
    return np.argsort(_keys(seed, epoch, count, draws.ORDER), kind="stable")


def windowed(seed: int, epoch: int, count: int, window: int) -> np.ndarray:
    """(count,) int64: runs of RUN neighbours in random order, shuffled `window` samples at a time.

    Any stretch of n samples reads at most n + 2 * window samples' worth of storage, in runs. A
    sample's place is anywhere over epochs; within one, its neighbours in storage come near it.
    """
    runs = np.argsort(_keys(seed, epoch, -(-count // RUN), draws.RUNS), kind="stable")
    samples = (runs[:, None] * RUN + np.arange(RUN)).ravel()
    samples = samples[samples < count]
    key = _keys(seed, epoch, count, draws.ORDER)  # of the place, not of the sample
    return samples[np.lexsort((key, np.arange(count) // max(window, 1)))]


def weighted(seed: int, epoch: int, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) weights above 0 -> (n,) int64 samples of one epoch and (n,) int64 which copy each is.

    Systematic sampling: one random offset, then even steps through the running total, so a
    sample comes floor or ceil of n * weight / total times, and exactly so on average.
    """
    count = len(weight)
    edges = np.cumsum(weight, dtype=np.float64)
    offset = float(draws.uniform(draws.words(seed, 0, epoch, draws.WEIGHTS))[0])
    places = (np.arange(count) + offset) * (edges[-1] / count)
    samples = np.minimum(np.searchsorted(edges, places, side="right"), count - 1)
    first = np.searchsorted(samples, samples)  # sorted: copies of a sample are neighbours
    order = permutation(seed, epoch, count)
    return samples[order], (np.arange(count) - first)[order]


def balance(label: np.ndarray) -> np.ndarray:
    """(n,) int64 labels -> (n,) float64 weights by which every class comes equally often."""
    _, kind, images = np.unique(label, return_inverse=True, return_counts=True)
    return 1.0 / images[kind]


def partners(seed: int, samples: np.ndarray, epochs: np.ndarray, count: int, k: int) -> np.ndarray:
    """(n,) samples of (n,) epochs -> (n,k) int64 others of the same `count`, for mosaic.

    Drawn for the sample, not for its place in a batch, and evenly from all others; two of the k
    may be the same. ValueError where there is no other.
    """
    if count < 2:
        raise ValueError(f"partners need 2 samples or more, got {count}")
    found = np.empty((len(samples), k), np.int64)
    for first in range(0, k, 4):
        words = draws.words(seed, samples, epochs, draws.PARTNERS, first // 4)[:, : k - first]
        step = words.astype(np.uint64) * np.uint64(count - 1) >> np.uint64(32)  # no modulo bias
        found[:, first : first + 4] = (samples[:, None] + 1 + step.astype(np.int64)) % count
    return found


class Order:
    """Endless epochs of `count` samples; position p is place p % count of epoch p // count.

    `window` > 0 makes the order windowed, `weight` (count,) makes it weighted; ValueError for
    both at once, for no samples, or for weights that are not above 0.
    """

    def __init__(
        self, seed: int, count: int, *, window: int = 0, weight: np.ndarray | None = None
    ) -> None:
        if count < 1:
            raise ValueError(f"an order needs 1 sample or more, got {count}")
        if weight is not None and (window or len(weight) != count or not (weight > 0).all()):
            raise ValueError(f"an order needs {count} weights above 0, and no window with them")
        self.seed, self.count, self.window, self.weight = seed, count, window, weight
        self._kept: tuple[tuple[int, np.ndarray, np.ndarray], ...] = ()

    def at(self, position: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(length,) int64 samples and (length,) int64 epochs of positions `position` and on.

        A batch may straddle two epochs: no sample is dropped and, but for weights, none repeated
        within one. The epochs are what draws are keyed by: see COPY_BITS.
        """
        positions = np.arange(position, position + length)
        epochs = positions // self.count
        samples, keys = np.empty(length, np.int64), epochs.copy()
        for epoch in np.unique(epochs):
            here = epochs == epoch
            order, copy = self._epoch(int(epoch))
            places = positions[here] % self.count
            samples[here] = order[places]
            if len(copy):
                keys[here] += copy[places] % COPIES << COPY_BITS
        return samples, keys

    def partners(self, samples: np.ndarray, epochs: np.ndarray, k: int = 3) -> np.ndarray:
        """(n,) samples and epochs, as `at` gave them -> (n,k) others to compose a mosaic with."""
        return partners(self.seed, samples, epochs, self.count, k)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        kept = self._kept  # one tuple: a second thread never sees half of a change
        for number, order, copy in kept:
            if number == epoch:
                return order, copy
        order, copy = self._make(epoch)
        self._kept = ((epoch, order, copy), *kept[:1])  # two: what is decoded ahead is in the next
        return order, copy

    def _make(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        none = np.empty(0, np.int64)
        if self.weight is not None:
            return weighted(self.seed, epoch, self.weight)
        if self.window:
            return windowed(self.seed, epoch, self.count, self.window), none
        return permutation(self.seed, epoch, self.count), none


def _keys(seed: int, epoch: int, count: int, op: int) -> np.ndarray:
    """(count,) uint64 to sort by."""
    words = draws.words(seed, np.arange(count), np.full(count, epoch), op)
    return words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1]
