"""Steps 1 and 2 on a CPU: the two passes of the triangle filter, raw pixels to a float32 tile.

Legend: B x D the tile, c its channels, (L, W) lines of source width.

Rows first (neighbouring bytes), then columns, in blocks of 8 outputs (`taps.bands`). How loops are
written matters: they count from 0 over slices, because with an unknown lower bound numba keeps the
test for negative indices and does not vectorise (318 us became 131).
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .lanes import levels16, load8, load16, mad8, mad16, splat8, splat16, store8, store16
from .reference import GRAY
from .taps import BLOCK

SPARE = 15  # floats that a line is longer than its width
LINES = 4  # output rows of gray that share one load of the weights
RED, GREEN, BLUE = (np.float32(share) for share in GRAY)


@jit
def resize(pixels, first, shape, c, rows, span, band, tone, lines, ready, tile, layout):
    """Raw pixels -> rows of the tile. `layout`: width, start, strides (y, x, channel).

    rows (lo, count, weight) are `taps.fill`'s, span and band `taps.bands`'; lines
    (5, W * C + 15) and ready (4, 8 * blocks) are scratch.
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
            share = weight[top + y, : count[top + y]]
            if len(tone):
                blend_by_table(pixels, at, stride, share, tone, line[: width * depth])
            else:
                blend(pixels, at, stride, share, unit, width * depth, line)
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
def blend(pixels, at, stride, weight, unit, width, line):
    """First pass, one output row: source rows times `unit`, weighted -> `width` of the line.

    Whole blocks of 16, so up to 15 more pixels are read and written: a scalar loop for the rest
    took 9 us per gray image. Four taps a pass, with their weights in registers.
    """
    count = len(weight)
    if at + (count - 1) * stride + width + 15 > len(pixels):
        blend_last(pixels, at, stride, weight, unit, width, line)
    elif count <= 2:
        v = unit * weight[1] if count == 2 else np.float32(0)
        blend_two(pixels, at, at + (count - 1) * stride, unit * weight[0], v, width, line)
    else:
        for t in range(0, count, 4):
            blend_four(pixels, at + t * stride, stride, weight[t:], unit, width, line, t > 0)


@jit
def blend_two(pixels, i, j, w, v, width, line):
    """Two source rows, which begin at i and j."""
    w, v = splat16(w), splat16(v)
    for x in range(0, width, 16):
        near = mad16(levels16(pixels, i + x), w, splat16(np.float32(0)))
        store16(line, x, mad16(levels16(pixels, j + x), v, near))


@jit
def blend_four(pixels, at, stride, weight, unit, width, line, more):
    """Four source rows, or as many as have a weight, onto the line if there were some before."""
    one, two, three = min(1, len(weight) - 1), min(2, len(weight) - 1), min(3, len(weight) - 1)
    j, k, m = at + one * stride, at + two * stride, at + three * stride
    a = splat16(unit * weight[0])
    b = splat16(unit * weight[1] if len(weight) > 1 else np.float32(0))
    c = splat16(unit * weight[2] if len(weight) > 2 else np.float32(0))
    d = splat16(unit * weight[3] if len(weight) > 3 else np.float32(0))
    for x in range(0, width, 16):
        near = load16(line, x) if more else splat16(np.float32(0))
        near = mad16(levels16(pixels, at + x), a, near)
        near = mad16(levels16(pixels, j + x), b, near)
        near = mad16(levels16(pixels, k + x), c, near)
        store16(line, x, mad16(levels16(pixels, m + x), d, near))


@jit
def blend_last(pixels, at, stride, weight, unit, width, line):
    """Where the pixels end there is nothing more to read."""
    line[:width] = 0
    for t in range(len(weight)):
        a, w = pixels[at + t * stride : at + t * stride + width], unit * weight[t]
        for i in range(width):
            line[i] += w * np.float32(a[i])


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
