"""Steps 1 and 2 on a CPU: the two passes of the triangle filter, raw pixels to a float32 tile.

Legend: B x D the tile, C channels of the source, c of the tile, W source columns that it needs.

Rows first, along neighbouring bytes, 16 rows of the tile at a time. Those are transposed, so that
the second pass is one vector of 16 rows per tap: no gather, no weight that is 0, whatever the
shrink. The results are transposed back as they are stored. Moving 16 x 16 floats costs 64 shuffles.

Only `resize` takes arrays; the rest takes addresses (`lanes.bare`) and checks nothing.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .lanes import (
    bare,
    fetch,
    levels16,
    load16,
    mad16,
    mul16,
    splat16,
    spread16,
    store16,
    turn16,
    weave4,
)
from .reference import GRAY

LANES = 16  # rows of the tile that are made together
BLOCK = LANES * LANES
STRIP = 512  # values of a row between the passes: 16 of them stay in a first-level cache of 48 KB
PITCH = STRIP + LANES
CACHE_LINE = 64  # bytes
AHEAD = 8  # rows of the tile before a source row is needed, it is asked for
RED, GREEN, BLUE = (np.float32(share) for share in GRAY)
ZERO = np.float32(0)


@jit
def bench(widest, taps):
    """Scratch for sources of up to `widest` values a row: lines, turned (16 * P,), blocks.

    Every output reads as many `taps` (in values) as any, so perhaps beyond a row. Zeros, and only
    light is ever written: what a weight of 0 meets there is finite.
    """
    blocks = np.zeros(6 * BLOCK, np.float32)
    turned = np.zeros(LANES * (widest + taps + LANES), np.float32)
    return np.zeros(LANES * PITCH, np.float32), turned, blocks


@jit
def resize(pixels, first, shape, c, rows, columns, light, work, tile, layout):
    """Raw pixels -> the tile. `layout`: width, start, strides (y, x, channel).

    rows and columns are (lo, count, weight) of `taps.fill`; `light` is the table, or empty.
    """
    lo, count = columns[0], columns[1]
    left, right, most = lo[0], lo[0], np.int64(1)
    for x in range(len(lo)):
        left, right = min(left, lo[x]), max(right, lo[x] + count[x])
        most = max(most, count[x])
    depth, height, width = np.int64(shape[2]), len(rows[0]), len(lo)
    at, stride, wide = first + left * depth, np.int64(shape[1]) * depth, (right - left) * depth
    unit = np.float32(1 / 255) if pixels.itemsize == 1 else np.float32(1 / 65535)
    source = (bare(pixels), at, stride, wide, len(pixels), unit, CACHE_LINE // pixels.itemsize)
    over = (bare(lo), bare(columns[2]), left, width, most)
    vertical = (bare(rows[0]), bare(rows[1]), bare(rows[2]), height)
    lines, turned, blocks = bare(work[0]), bare(work[1]), bare(work[2])
    for top in range(0, height, LANES):
        many = min(LANES, height - top)
        down(source, vertical, top, many, bare(light), len(light) > 0, lines, turned)
        for x in range(0, width, LANES):
            outputs = min(LANES, width - x)
            if depth == 1:
                across(turned, over, x, outputs, blocks)
            else:
                across_rgb(turned, over, x, outputs, c, blocks)
            place(blocks, c, bare(tile), layout, top, many, x, outputs)


@jit
def ahead(pixels, at, stride, span, rows, o, step):
    """Ask for the source rows of output o that the one before it did not need."""
    lo, count, _, height = rows
    if o >= height:
        return
    for y in range(lo[o], lo[o] + count[o]):
        if y < lo[o - 1] or y >= lo[o - 1] + count[o - 1]:
            for i in range(0, span, step):
                fetch(pixels, at + y * stride + i)


@jit
def down(source, rows, top, many, light, by_table, lines, turned):
    """First pass, `many` rows of the tile: source rows, weighted, transposed -> (W * C, 16)."""
    (pixels, at, stride, wide, end, unit, step), (lo, count, _, _) = source, rows
    last = np.int64(0)
    for y in range(top, top + many):
        last = max(last, lo[y] + count[y] - 1)
    for x in range(0, wide, STRIP):
        span, begin = min(STRIP, wide - x), at + x
        if by_table:
            blend_by_table(pixels, begin, stride, rows, top, many, span, light, lines)
        elif begin + last * stride + span + LANES > end:
            blend_last(pixels, begin, stride, rows, top, many, span, unit, lines)
        else:
            blend(pixels, begin, stride, rows, top, many, span, unit, lines, step)
        for i in range(0, span, LANES):
            turn16(lines, i, PITCH, turned, (x + i) * LANES, LANES)


@jit
def blend(pixels, at, stride, rows, top, many, span, unit, lines, step):
    """Whole blocks of 16, so up to 15 more pixels are read and written. Four taps a pass."""
    lo, count, weight, height = rows
    for y in range(many):
        o, line, n = top + y, y * PITCH, count[top + y]
        i = at + lo[o] * stride
        ahead(pixels, at, stride, span, rows, o + AHEAD, step)
        if n <= 2:
            a, j = splat16(unit * weight[o]), i + (n - 1) * stride
            b = splat16(unit * weight[height + o] if n == 2 else ZERO)
            for x in range(0, span, LANES):
                near = mul16(levels16(pixels, i + x), a)
                store16(lines, line + x, mad16(levels16(pixels, j + x), b, near))
            continue
        for t in range(0, n, 4):
            left = min(n - t, 4) - 1
            j, k, m = i + min(1, left) * stride, i + min(2, left) * stride, i + left * stride
            a = splat16(unit * weight[o])
            b = splat16(unit * weight[o + height] if left >= 1 else ZERO)
            c = splat16(unit * weight[o + 2 * height] if left >= 2 else ZERO)
            d = splat16(unit * weight[o + 3 * height] if left >= 3 else ZERO)
            for x in range(0, span, LANES):
                near = load16(lines, line + x) if t else splat16(ZERO)
                near = mad16(levels16(pixels, i + x), a, near)
                near = mad16(levels16(pixels, j + x), b, near)
                near = mad16(levels16(pixels, k + x), c, near)
                store16(lines, line + x, mad16(levels16(pixels, m + x), d, near))
            i, o = i + 4 * stride, o + 4 * height


@jit
def blend_last(pixels, at, stride, rows, top, many, span, unit, lines):
    """Where the pixels end there is nothing more to read."""
    lo, count, weight, height = rows
    for y in range(many):
        line = y * PITCH
        for x in range(span):
            lines[line + x] = ZERO
        for t in range(count[top + y]):
            i, share = at + (lo[top + y] + t) * stride, unit * weight[t * height + top + y]
            for x in range(span):
                lines[line + x] += share * np.float32(pixels[i + x])


@jit
def blend_by_table(pixels, at, stride, rows, top, many, span, light, lines):
    """The same, of the light that a table gives each raw level."""
    lo, count, weight, height = rows
    for y in range(many):
        line = y * PITCH
        for x in range(span):
            lines[line + x] = ZERO
        for t in range(count[top + y]):
            i, share = at + (lo[top + y] + t) * stride, weight[t * height + top + y]
            for x in range(span):
                lines[line + x] += share * light[np.int64(pixels[i + x])]


@jit
def across(turned, columns, first, outputs, blocks):
    """Second pass, gray: outputs first to first + outputs - 1 of 16 rows -> (16,16) of blocks."""
    lo, weight, left, width, most = columns
    for x in range(outputs):
        at, o = (lo[first + x] - left) * LANES, first + x
        a = mul16(load16(turned, at), spread16(weight, o))
        for _ in range(1, most):
            at, o = at + LANES, o + width
            a = mad16(load16(turned, at), spread16(weight, o), a)
        store16(blocks, LANES * x, a)


@jit
def across_rgb(turned, columns, first, outputs, c, blocks):
    """Second pass, three channels -> (c,16,16) of blocks; c = 1 is their gray."""
    lo, weight, left, width, most = columns
    for x in range(outputs):
        at, o = (lo[first + x] - left) * (3 * LANES), first + x
        share = spread16(weight, o)
        a = mul16(load16(turned, at), share)
        b = mul16(load16(turned, at + LANES), share)
        d = mul16(load16(turned, at + 2 * LANES), share)
        for _ in range(1, most):
            at, o = at + 3 * LANES, o + width
            share = spread16(weight, o)
            a = mad16(load16(turned, at), share, a)
            b = mad16(load16(turned, at + LANES), share, b)
            d = mad16(load16(turned, at + 2 * LANES), share, d)
        if c == 1:
            a = mad16(b, splat16(GREEN), mul16(a, splat16(RED)))
            store16(blocks, LANES * x, mad16(d, splat16(BLUE), a))
            continue
        store16(blocks, LANES * x, a)
        store16(blocks, LANES * x + BLOCK, b)
        store16(blocks, LANES * x + 2 * BLOCK, d)


@jit
def place(blocks, c, tile, layout, top, rows, left, columns):
    """Blocks of 16 x 16 results, a column a line -> (rows, columns) of the tile at (top, left)."""
    _, begin, down, right, plane = layout
    at, found = begin + top * down + left * right, 3 * BLOCK
    if right == 1 and rows == LANES and columns == LANES:
        for channel in range(c):
            turn16(blocks, channel * BLOCK, LANES, tile, at + channel * plane, down)
        return
    for channel in range(c):
        turn16(blocks, channel * BLOCK, LANES, blocks, found + channel * BLOCK, LANES)
    for y in range(rows):
        line = found + y * LANES
        if right == 4 and columns == LANES:
            a, b = load16(blocks, line), load16(blocks, line + BLOCK)
            d = load16(blocks, line + 2 * BLOCK)
            weave4(tile, at + y * down, a, b, d, d)
            continue
        for channel in range(c):
            for x in range(columns):
                here = at + y * down + x * right + channel * plane
                tile[here] = blocks[line + channel * BLOCK + x]
