"""Which source pixels make up each output of one axis, and how much of each: `reference.taps`.

Legend: B outputs of the axis, T room for taps of one output.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import ONE, Q

HALF = ONE // 2
BLOCK = 8  # outputs that one vector holds


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
def room_in_bands(length_q, size, blur_q):
    """At least as many floats as `bands` writes."""
    blocks = (size + BLOCK - 1) // BLOCK
    pixels = (np.int64(length_q) + ONE - 1 >> Q) + 1
    return BLOCK * (pixels + blocks * (room(length_q, size, blur_q) + 3))


@jit
def table(length_q, size, blur_q):
    """Room for one axis: first pixel (B,), how many (B,), weights (B,T)."""
    weight = np.zeros((size, room(length_q, size, blur_q)), np.float32)
    return np.zeros(size, np.int64), np.zeros(size, np.int64), weight


@jit
def fill(first_q, length_q, source, flip, blur_q, lo, count, weight):
    """`reference.taps` and `filters` for one axis, in output order: a flip costs nothing."""
    size, length = len(lo), np.int64(length_q)
    support = support_of(length, size, blur_q)
    slope = 1.0 / support
    begin = max(0, first_q >> Q)
    end = min(source, (first_q + length + ONE - 1) >> Q)
    # first_q + ((2 * o + 1) * length + size) // (2 * size), without the division.
    centre, left = first_q + (length + size) // (2 * size), (length + size) % (2 * size)
    whole, part = length // size, 2 * (length % size)
    for o in range(size):
        low = max(begin, min((centre - support + HALF) >> Q, end - 1))
        high = max(low + 1, min((centre + support + HALF) >> Q, end))
        place = size - 1 - o if flip else o
        lo[place], count[place] = low, high - low
        share, total = weight[place], 0.0
        first = low * ONE + HALF - centre
        for t in range(high - low):
            near = max(0.0, 1 - abs(first + t * ONE) * slope)
            share[t] = near
            total += near
        total = 1 / total
        for t in range(high - low):
            share[t] *= total
        centre, left = centre + whole, left + part
        if left >= 2 * size:
            centre, left = centre + 1, left - 2 * size


@jit
def bands(lo, count, weight, span, band):
    """The same weights by blocks of 8 outputs: what each source pixel gives to all eight.

    Block b reads pixels from span[b, 0] on, span[b, 1] of them; pixel k of them has its eight
    weights at band[span[b, 2] + 8 * k]. So the second pass is whole vectors: no gathers.
    """
    at, size = 0, len(lo)
    for block in range((size + BLOCK - 1) // BLOCK):
        outputs = min(BLOCK, size - block * BLOCK)
        low = lo[block * BLOCK : block * BLOCK + outputs]
        high = count[block * BLOCK : block * BLOCK + outputs]
        begin, end = low[0], low[0] + high[0]
        for o in range(outputs):
            begin, end = min(begin, low[o]), max(end, low[o] + high[o])
        span[block, 0], span[block, 1], span[block, 2] = begin, end - begin, at
        band[at : at + BLOCK * (end - begin)] = 0
        for o in range(outputs):
            share, first = weight[block * BLOCK + o], at + (low[o] - begin) * BLOCK + o
            for t in range(high[o]):
                band[first + t * BLOCK] = share[t]
        at += BLOCK * (end - begin)
