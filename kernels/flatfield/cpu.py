"""The sliding median on a CPU: time per pixel does not grow with the window.

Perreault and Hebert, "Median filtering in constant time" (IEEE Trans. Image Process. 16, 2007): a
histogram per column, moved down a row at a time, and one of the window, moved along the row by
adding a column's and taking off another's, 256 counters at once in SIMD.
"""

from __future__ import annotations

import numpy as np

from ..op import jit


@jit
def slide(levels, side, out):
    """(H,W) uint8, odd side up to 255 -> the median of each side x side window, edges repeated."""
    height, width = levels.shape
    reach, rank = side // 2, side * side // 2
    fine, coarse = np.zeros((width, 256), np.uint16), np.zeros((width, 16), np.uint16)
    for y in range(-reach, reach + 1):
        count(levels[min(max(y, 0), height - 1)], 1, fine, coarse)
    window, blocks = np.zeros(256, np.uint16), np.zeros(16, np.uint16)
    for y in range(height):
        window[:], blocks[:] = 0, 0
        for x in range(-reach, reach + 1):
            at = min(max(x, 0), width - 1)
            move(window, fine[at], fine[0], 0)
            move(blocks, coarse[at], coarse[0], 0)
        for x in range(width):
            out[y, x] = median(window, blocks, rank)
            new, old = min(x + reach + 1, width - 1), max(x - reach, 0)
            move(window, fine[new], fine[old], 1)
            move(blocks, coarse[new], coarse[old], 1)
        count(levels[max(y - reach, 0)], -1, fine, coarse)
        count(levels[min(y + reach + 1, height - 1)], 1, fine, coarse)


@jit
def count(row, change, fine, coarse):
    """Add one row of levels to the histograms of its columns, or take it off."""
    for x in range(len(row)):
        fine[x, row[x]] += change
        coarse[x, row[x] >> 4] += change


@jit
def move(window, new, old, taken):
    """Add a histogram, and take off another `taken` times."""
    for level in range(len(window)):
        window[level] += new[level] - np.uint16(taken) * old[level]


@jit
def median(window, blocks, rank):
    """The level of which `rank` counts at most lie below."""
    below, block = np.int64(0), 0
    while below + blocks[block] <= rank:
        below += blocks[block]
        block += 1
    level = 16 * block
    while below + window[level] <= rank:
        below += window[level]
        level += 1
    return level
