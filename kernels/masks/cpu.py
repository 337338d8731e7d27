"""Label maps on a CPU, and the line of source pixels that instance masks are traced by too.

Legend: T positions of a line. All integers, int64: the same bits as `reference`.
"""

from __future__ import annotations

import numpy as np
import torch

from ..op import jit
from ..pool import spread
from ..sample.columns import (
    AFFINE,
    BEND,
    BENT,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    CELLS,
    EDGE,
    FLAGS,
    HEIGHT,
    KEEP,
    LEFT,
    MIRROR,
    ONE,
    POINTS,
    REFLECT,
    TOP,
    UPEND,
    WIDTH,
    X0,
    XX,
    XY,
    Y0,
    YX,
    YY,
    Q,
)

HALF = ONE // 2


def nearest(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    out: torch.Tensor,
    outside: int,
    parts: int,
    threads: int,
) -> torch.Tensor:
    """Fills `out` (N/parts,S,S), which holds `outside`. Checks nothing."""
    flat, stored = labels.numpy(), out.numpy()
    batch = (start.numpy(), shape.numpy(), params.numpy())
    empty = flat.dtype.type(outside)

    def work(lo: int, hi: int) -> None:
        _range(flat, *batch, lo, hi, parts, empty, stored)

    spread(work, len(out), threads)
    return out


@jit
def _range(labels, start, shape, params, begin, end, parts, empty, out):
    """Outputs begin to end - 1, each by its `parts` rows in turn."""
    size = out.shape[1]
    xs = np.arange(size).astype(np.int64) << Q
    cells, weights = table(xs, size)
    line = np.empty((2, POINTS), np.int64)
    right, below = np.empty(size, np.int64), np.empty(size, np.int64)
    for n in range(begin * parts, end * parts):
        row, height, width = params[n], np.int64(shape[n, 0]), np.int64(shape[n, 1])
        top, left, last, side = frame(row, size)
        for y in range(top, last):
            trace(row, height, width, size, xs, y << Q, cells, weights, line, right, below)
            target = out[n // parts, y]
            for x in range(left, side):
                found = right[x] >= 0 and below[x] >= 0
                target[x] = labels[start[n] + below[x] * width + right[x]] if found else empty


@jit
def frame(row, size):
    """Top, left, bottom and right of what a row writes."""
    if not row[FLAGS] & KEEP:
        return 0, 0, size, size
    top, left = np.int64(row[BOX_TOP]), np.int64(row[BOX_LEFT])
    return top, left, top + row[BOX_HEIGHT], left + row[BOX_WIDTH]


@jit
def table(xs, size):
    """Cells (T,) and weights (T,4) of the displacement at positions (T,)."""
    cells, weights = np.empty(len(xs), np.int64), np.empty((len(xs), 4), np.int64)
    for x in range(len(xs)):
        cells[x] = spline(xs[x], size, weights[x])
    return cells, weights


@jit
def spline(x, size, weight):
    """`reference.spline` at one position: fills the 4 weights, returns the first point's number."""
    place = min(max(2 * x + ONE, 0), 2 * size * ONE - 1) * CELLS // (2 * size)
    t = (place & (ONE - 1)) >> 6
    s = 1024 - t
    weight[0] = (s * s * s >> 14) * 10923 >> 16
    weight[1] = (3 * t * t * t - 6144 * t * t + (4 << 30) >> 14) * 10923 >> 16
    weight[2] = (3 * s * s * s - 6144 * s * s + (4 << 30) >> 14) * 10923 >> 16
    weight[3] = (t * t * t >> 14) * 10923 >> 16
    return place >> Q


@jit
def trace(row, height, width, size, xs, y, cells, weights, line, right, below):
    """Source columns and rows shown at (xs, y), (T,) each; -1 where there is none."""
    flags = row[FLAGS]
    turned, bent = flags & AFFINE, flags & BENT
    columns = axis(row[LEFT], row[WIDTH], row[BOX_LEFT], row[BOX_WIDTH], width)
    rows = axis(row[TOP], row[HEIGHT], row[BOX_TOP], row[BOX_HEIGHT], height)
    xx, yx = np.int64(row[XX]), np.int64(row[YX])
    xy, yy = np.int64(row[XY]) * y, np.int64(row[YY]) * y
    if bent:
        condense(row, y, size, line)
    for i in range(len(xs)):
        u, v = xs[i], y
        if turned:
            u, v = (xx * xs[i] + xy >> Q) + row[X0], (yx * xs[i] + yy >> Q) + row[Y0]
        if bent:
            moved_x, moved_y = np.int64(0), np.int64(0)
            for k in range(4):
                moved_x += weights[i, k] * line[0, cells[i] + k]
                moved_y += weights[i, k] * line[1, cells[i] + k]
            u, v = u + (moved_x >> Q), v + (moved_y >> Q)
        right[i] = pixel(u, columns, flags, flags & MIRROR)
        below[i] = pixel(v, rows, flags, flags & UPEND)


@jit
def condense(row, y, size, line):
    """Control points weighted down the columns for one y: fills (2,7)."""
    weight = np.empty(4, np.int64)
    cell = spline(y, size, weight)
    for j in range(POINTS):
        across, down = np.int64(0), np.int64(0)
        for k in range(4):
            packed = np.int64(row[BEND + (cell + k) * POINTS + j])
            across += weight[k] * ((packed & 0xFFFF) - ((packed & 0x8000) << 1))
            down += weight[k] * (packed >> 16)
        line[0, j], line[1, j] = across >> 8, down >> 8


@jit
def axis(first, window, corner, box, source):
    """What `pixel` needs of one axis: place of the box, its end, window, ratio, pixels."""
    first, window, box = np.int64(first), np.int64(window), np.int64(box)
    ratio = (window + box // 2) // box
    last = min(source, (first + window + ONE - 1) >> Q) - 1
    return HALF - np.int64(corner) * ONE, box * ONE, first, ratio, max(0, first >> Q), last


@jit
def pixel(u, ends, flags, flip):
    """The source pixel of one axis, or -1."""
    shift, reach, first, ratio, lowest, highest = ends
    t = u + shift
    if t < 0 or t >= reach:
        if flags & EDGE:
            t = min(max(t, 0), reach - 1)
        elif flags & REFLECT:
            t = t % (2 * reach)
            t = min(t, 2 * reach - 1 - t)
        else:
            return -1
    if flip:
        t = reach - t
    return min(max((first + (t * ratio >> Q)) >> Q, lowest), highest)
