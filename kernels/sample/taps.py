"""Which source pixels make up each output of one axis, and how much of each: `reference.taps`.

Legend: B outputs of the axis, T room for taps of one output.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import ONE, Q

HALF = ONE // 2


@jit
def support_of(length_q, size, blur_q):
    """Half-width of the filter in source pixels, Q16."""
    step = (2 * np.int64(length_q) + size) // (2 * size)
    return max(ONE, step) + (blur_q * step >> Q)


@jit
def room(length_q, size, blur_q):
    """At least as many taps as any output of the axis has."""
    pixels = (np.int64(length_q) + ONE - 1 >> Q) + 1
    return min(pixels, (2 * support_of(length_q, size, blur_q) >> Q) + 2)


@jit
def table(length_q, size, blur_q):
    """Room for one axis: first pixel (B,), how many (B,), weights (T,B)."""
    weight = np.empty((room(length_q, size, blur_q), size), np.float32)
    return np.empty(size, np.int64), np.empty(size, np.int64), weight


@jit
def fill(first_q, length_q, source, flip, blur_q, lo, count, weight):
    """`reference.taps` and `filters` for one axis, in output order: a flip costs nothing.

    Weights of tap t of all outputs lie side by side, and are 0 from an output's count on. Returns
    the largest count: rows of `weight` from there on are not written.
    """
    size, length = len(lo), np.int64(length_q)
    support = support_of(length, size, blur_q)
    begin = max(0, first_q >> Q)
    end = min(source, (first_q + length + ONE - 1) >> Q)
    # first_q + ((2 * o + 1) * length + size) // (2 * size), without the division.
    centre, left = first_q + (length + size) // (2 * size), (length + size) % (2 * size)
    whole, part = length // size, 2 * (length % size)
    near, most = np.empty(size, np.int64), np.int64(1)
    for o in range(size):
        low = max(begin, min((centre - support + HALF) >> Q, end - 1))
        high = max(low + 1, min((centre + support + HALF) >> Q, end))
        place = size - 1 - o if flip else o
        lo[place], count[place] = low, high - low
        near[place] = low * ONE + HALF - centre
        most = max(most, high - low)
        centre, left = centre + whole, left + part
        if left >= 2 * size:
            centre, left = centre + 1, left - 2 * size
    share(near, count, 1.0 / support, weight[:most])
    return most


@jit
def share(near, count, slope, weight):
    """A triangle over pixels at distances near + t (Q16), made to sum to 1, in float64."""
    total = np.zeros(len(near), np.float64)
    for t in range(len(weight)):
        for o in range(len(near)):
            found = max(0.0, 1 - abs(np.float64(near[o] + t * ONE)) * slope)
            total[o] += found if t < count[o] else 0.0
    for o in range(len(near)):
        total[o] = 1 / total[o]
    for t in range(len(weight)):
        line = weight[t]
        for o in range(len(near)):
            found = max(0.0, 1 - abs(np.float64(near[o] + t * ONE)) * slope)
            line[o] = found * total[o] if t < count[o] else 0.0
