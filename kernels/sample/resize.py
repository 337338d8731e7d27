"""Steps 1 and 2 on a CPU: the two passes of the triangle filter, raw pixels to a float32 tile.

Legend: B x D the tile, c its channels, (L, W) lines of source width.

Rows first (neighbouring bytes), then columns, in blocks of 8 outputs (`taps.bands`). How loops are
written matters: they count from 0 over slices, because with an unknown lower bound numba keeps the
test for negative indices and does not vectorise (318 us became 131).
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .lanes import load8, mad8, splat8, store8
from .reference import GRAY
from .taps import BLOCK

LINES = 4  # output rows of gray that share one load of the weights
RED, GREEN, BLUE = (np.float32(share) for share in GRAY)


@jit
def resize(pixels, first, shape, c, rows, span, band, tone, lines, ready, tile, layout):
    """Raw pixels -> rows of the tile. `layout`: where it begins, and the strides (y, x, channel).

    rows (lo, count, weight) are `taps.fill`'s, span and band `taps.bands`'; lines (4, W * C) and
    ready (4, 8 * blocks) are scratch.
    """
    lo, count, weight = rows
    depth, height = np.int64(shape[2]), len(lo)
    stride = np.int64(shape[1]) * depth
    left, right = span[0, 0], span[0, 0] + span[0, 1]
    for block in range(len(span)):
        left = min(left, span[block, 0])
        right = max(right, span[block, 0] + span[block, 1])
    width, group = right - left, LINES if c == 1 else 1
    unit = np.float32(1 / 255) if pixels.itemsize == 1 else np.float32(1 / 65535)
    for top in range(0, height, group):
        many = min(group, height - top)
        for y in range(many):
            at = first + lo[top + y] * stride + left * depth
            line = lines[LINES] if depth > c else lines[y]
            shares, line_y = weight[top + y, : count[top + y]], line[: width * depth]
            if len(tone):
                blend_by_table(pixels, at, stride, shares, tone, line_y)
            else:
                blend(pixels, at, stride, shares, unit, line_y)
            if depth > c:
                gray(line, lines[y][:width])
        if c == 1:
            across(lines[0], lines[1], lines[2], lines[3], left, span, band, ready)
        else:
            across_rgb(lines[0], left, span, band, ready)
        for y in range(many if c == 1 else 3):
            place(ready[y], tile, layout, top + (y if c == 1 else 0), 0 if c == 1 else y)


@jit
def place(ready, tile, layout, y, channel):
    """One finished row of one channel -> its place in the tile."""
    width, begin, down, right, plane = layout
    out = tile[begin + y * down + channel * plane :]
    if right == 1:
        for x in range(width):
            out[x] = ready[x]
        return
    for x in range(width):
        out[np.uint64(4) * np.uint64(x)] = ready[x]


@jit
def blend(pixels, at, stride, weight, unit, line):
    """First pass, one output row: source rows times `unit`, weighted, two at a time -> (width,)."""
    width, count = len(line), len(weight)
    w = unit * weight[0]
    a = pixels[at : at + width]
    if count & 1:
        for i in range(width):
            line[i] = w * np.float32(a[i])
    else:
        v, b = unit * weight[1], pixels[at + stride : at + stride + width]
        for i in range(width):
            line[i] = w * np.float32(a[i]) + v * np.float32(b[i])
    for t in range(2 - (count & 1), count, 2):
        at_t = at + t * stride
        w, v = unit * weight[t], unit * weight[t + 1]
        a, b = pixels[at_t : at_t + width], pixels[at_t + stride : at_t + stride + width]
        for i in range(width):
            line[i] += w * np.float32(a[i]) + v * np.float32(b[i])


@jit
def blend_by_table(pixels, at, stride, weight, tone, line):
    """The same, of the light that a table gives each raw level."""
    width = len(line)
    line[:] = 0
    for t in range(len(weight)):
        a, w = pixels[at + t * stride : at + t * stride + width], weight[t]
        for i in range(width):
            line[i] += w * tone[np.uint64(a[i])]


@jit
def gray(rgb, out):
    """(3 * width,) -> (width,)."""
    for i in range(len(out)):
        out[i] = RED * rgb[3 * i] + GREEN * rgb[3 * i + 1] + BLUE * rgb[3 * i + 2]


@jit
def across(one, two, three, four, left, span, band, ready):
    """Second pass, four gray rows at once: each load of eight weights serves all four.

    Adds the products of the whole block's span, weight 0 or not: 10 times the shrink a block of
    8, against 16 useful ones one by one, which numba cannot vectorise.
    """
    a_row, b_row, c_row, d_row = ready[0], ready[1], ready[2], ready[3]
    for block in range(len(span)):
        i, at = np.uint64(span[block, 0] - left), span[block, 2]
        zero = splat8(np.float32(0))
        a, b, c, d = zero, zero, zero, zero
        for _ in range(span[block, 1]):
            weights = load8(band, at)
            a = mad8(splat8(one[i]), weights, a)
            b = mad8(splat8(two[i]), weights, b)
            c = mad8(splat8(three[i]), weights, c)
            d = mad8(splat8(four[i]), weights, d)
            i += np.uint64(1)
            at += BLOCK
        x = block * BLOCK
        store8(a_row, x, a)
        store8(b_row, x, b)
        store8(c_row, x, c)
        store8(d_row, x, d)


@jit
def across_rgb(line, left, span, band, ready):
    """Second pass, one row of three interleaved channels -> three rows."""
    a_row, b_row, c_row = ready[0], ready[1], ready[2]
    for block in range(len(span)):
        i, at = np.uint64(3) * np.uint64(span[block, 0] - left), span[block, 2]
        zero = splat8(np.float32(0))
        a, b, c = zero, zero, zero
        for _ in range(span[block, 1]):
            weights = load8(band, at)
            a = mad8(splat8(line[i]), weights, a)
            b = mad8(splat8(line[i + np.uint64(1)]), weights, b)
            c = mad8(splat8(line[i + np.uint64(2)]), weights, c)
            i += np.uint64(3)
            at += BLOCK
        x = block * BLOCK
        store8(a_row, x, a)
        store8(b_row, x, b)
        store8(c_row, x, c)
