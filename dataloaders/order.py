"""The global order of samples: a pure function of (seed, epoch, position), whatever the machine.

Any number of ranks that divides the batch sees the same global batches, and a run resumes at any
sample, because the whole state is three numbers: seed, number of samples, position.
"""

from __future__ import annotations

import numpy as np

from ..kernels import draws


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64: the order of one epoch. Sorting counter-based words needs no state.

    seed in [0, 2^63), epoch in [0, 2^32), else ValueError. 12 ms for 83,484.
    """
    words = draws.words(seed, np.arange(count), np.full(count, epoch), draws.ORDER)
    key = words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1]
    return np.argsort(key, kind="stable")


class Order:
    """Endless epochs of `count` samples; position p is sample p % count of epoch p // count."""

    def __init__(self, seed: int, count: int) -> None:
        if count < 1:
            raise ValueError(f"an order needs 1 sample or more, got {count}")
        self.seed, self.count = seed, count
        self._last = (-1, np.empty(0, np.int64))

    def at(self, position: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(length,) int64 samples and (length,) int64 epochs of positions `position` and on.

        A batch may straddle two epochs: no sample is dropped and none is repeated within one.
        """
        positions = np.arange(position, position + length)
        epochs = positions // self.count
        samples = np.empty(length, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            samples[here] = self._permutation(int(epoch))[positions[here] % self.count]
        return samples, epochs

    def _permutation(self, epoch: int) -> np.ndarray:
        number, order = self._last  # one tuple: a second thread never sees half of a change
        if number != epoch:
            order = permutation(self.seed, epoch, self.count)
            self._last = (epoch, order)
        return order
