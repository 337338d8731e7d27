"""Numbers that a file writes in other units come back as they were written.

Boxes are pixels in memory. A file may say widths, or shares of the image, and `x / width * width`
is not always `x`. So a reader keeps the written numbers of exactly those rows where going there
and back differs in a bit, and a writer takes them for rows that nobody changed since.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Exact:
    """Rows whose written numbers cannot be computed from what is in memory."""

    rows: np.ndarray
    """(K,) int64, rising."""
    pixels: np.ndarray
    """(K,...) float64: what is in memory."""
    written: np.ndarray
    """(K,...) float64: what the file says."""

    def restore(self, pixels: np.ndarray, computed: np.ndarray) -> np.ndarray:
        """`computed` (N,...) float64, with the file's own numbers where `pixels` are unchanged."""
        if not len(self.rows):
            return computed
        same = self.pixels == pixels[self.rows]
        same = same.all(axis=1) if same.ndim == 2 else same
        computed = computed.copy()
        computed[self.rows[same]] = self.written[same]
        return computed

    def select(self, keep: np.ndarray) -> Exact:
        """The same for the rows where `keep` (N,) bool is set."""
        mine = keep[self.rows] if len(self.rows) else np.zeros(0, bool)
        rows = (np.cumsum(keep) - 1)[self.rows[mine]] if mine.any() else np.zeros(0, np.int64)
        return Exact(rows, self.pixels[mine], self.written[mine])


def no_rows(width: int = 0) -> Exact:
    """Nothing to restore, for rows of `width` numbers (0: plain numbers)."""
    shape = (0, width) if width else (0,)
    return Exact(np.zeros(0, np.int64), np.zeros(shape), np.zeros(shape))


def find_exact(pixels: np.ndarray, written: np.ndarray, computed: np.ndarray) -> Exact:
    """Where `computed` from `pixels` is not what was `written`; all (N,) or (N,k) float64."""
    differ = computed != written
    rows = np.flatnonzero(differ.any(axis=1) if differ.ndim == 2 else differ)
    return Exact(rows, pixels[rows], written[rows])
