"""Masks of single objects on a CPU: one object after another, line by line, all integers.

Legend: M objects, T side of a mask, S side of the output in pixels.
"""

from __future__ import annotations

import numpy as np
import torch

from ..masks.cpu import HALF, frame, table, trace
from ..op import jit
from ..pool import spread
from ..sample.columns import FLAGS, KEEP, ONE, POINTS, Q


def runs(
    ends: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    out: torch.Tensor,
    threads: int,
) -> torch.Tensor:
    """Fills `out` (M,T,T) from run ends (E,) int32; `regions` (M,4) int64 Q16. Checks nothing."""
    objects = (ends.numpy(), start.numpy())
    where = (image.numpy(), shape.numpy(), params.numpy(), regions.numpy(), size, out.numpy())

    def work(lo: int, hi: int) -> None:
        _runs(*objects, *where, lo, hi)

    spread(work, len(out), threads)
    return out


def polygons(
    vertices: torch.Tensor,
    rings: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    moved: bool,
    out: torch.Tensor,
    threads: int,
) -> torch.Tensor:
    """Fills `out` (M,T,T); `vertices` (V,2) and `regions` (M,4) int64 Q16. Checks nothing."""
    objects = (vertices.numpy(), rings.numpy(), start.numpy())
    where = (image.numpy(), shape.numpy(), params.numpy(), regions.numpy(), size, out.numpy())

    def work(lo: int, hi: int) -> None:
        _polygons(*objects, *where, moved, lo, hi)

    spread(work, len(out), threads)
    return out


@jit
def _runs(ends, start, image, shape, params, regions, size, out, begin, finish):
    """Objects begin to finish - 1."""
    side = out.shape[1]
    xs, ys = np.empty(side, np.int64), np.empty(side, np.int64)
    right, below = np.empty(side, np.int64), np.empty(side, np.int64)
    line = np.empty((2, POINTS), np.int64)
    for m in range(begin, finish):
        row, height = params[image[m]], np.int64(shape[image[m], 0])
        width = np.int64(shape[image[m], 1])
        if not spots(regions[m], xs, ys):
            out[m] = 0
            continue
        own = ends[start[m] : start[m + 1]]
        cells, weights = table(xs, size)
        for y in range(side):
            trace(row, height, width, size, xs, ys[y], cells, weights, line, right, below)
            leave(row, size, xs, ys[y], right)
            for x in range(side):
                found = right[x] >= 0 and below[x] >= 0
                out[m, y, x] = passed(own, right[x] * height + below[x]) & 1 if found else 0


@jit
def _polygons(
    vertices, rings, start, image, shape, params, regions, size, out, moved, begin, finish
):
    """Objects begin to finish - 1."""
    side = out.shape[1]
    xs, ys = np.empty(side, np.int64), np.empty(side, np.int64)
    right, below = np.empty(side, np.int64), np.empty(side, np.int64)
    line, odd = np.empty((2, POINTS), np.int64), np.empty(side, np.uint8)
    for m in range(begin, finish):
        row, height = params[image[m]], np.int64(shape[image[m], 0])
        width = np.int64(shape[image[m], 1])
        out[m] = 0
        if not spots(regions[m], xs, ys):
            continue
        cells, weights = table(xs, size)
        for y in range(side):
            if moved:
                right[:], below[:] = 0, 0
            else:
                trace(row, height, width, size, xs, ys[y], cells, weights, line, right, below)
            leave(row, size, xs, ys[y], right)
            low, high = reach(right, below, xs, ys[y], moved)
            for ring in range(start[m], start[m + 1]):
                cross(vertices[rings[ring] : rings[ring + 1]], right, below, low, high, odd)
                for x in range(side):
                    out[m, y, x] |= odd[x]


@jit
def spots(region, xs, ys):
    """Centres of the cells of a region, Q16 from pixel centres; whether it has any area."""
    side = len(xs)
    for i in range(side):
        xs[i] = region[0] + (2 * i + 1) * (region[2] - region[0]) // (2 * side) - HALF
        ys[i] = region[1] + (2 * i + 1) * (region[3] - region[1]) // (2 * side) - HALF
    return region[2] > region[0] and region[3] > region[1]


@jit
def leave(row, size, xs, y, right):
    """Mark with -1 what lies beyond the box of a KEEP row."""
    if not row[FLAGS] & KEEP:
        return
    top, left, bottom, edge = frame(row, size)
    outside = y + HALF < top * ONE or y + HALF >= bottom * ONE
    for i in range(len(xs)):
        if outside or xs[i] + HALF < left * ONE or xs[i] + HALF >= edge * ONE:
            right[i] = -1


@jit
def passed(ends, at):
    """How many of the run ends are at or before a pixel."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) >> 1
        if ends[middle] <= at:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def reach(right, below, xs, y, moved):
    """Turn a line's pixels into points, Q16, in place -> the lowest and highest y there are."""
    low, high = np.int64(1) << 62, -(np.int64(1) << 62)
    for i in range(len(xs)):
        if right[i] < 0 or below[i] < 0:
            right[i] = OUT
            continue
        right[i] = xs[i] + HALF if moved else (right[i] << Q) + HALF
        below[i] = y + HALF if moved else (below[i] << Q) + HALF
        low, high = min(low, below[i]), max(high, below[i])
    return low, high


OUT = -(1 << 62)


@jit
def cross(ring, right, below, low, high, odd):
    """Which points of a line are inside a ring, by `reference.enclosed`: fills (T,) 0 or 1."""
    odd[:] = 0
    for e in range(len(ring)):
        after = e + 1 if e + 1 < len(ring) else 0
        ax, ay, bx, by = ring[e, 0], ring[e, 1], ring[after, 0], ring[after, 1]
        if max(ay, by) <= low or min(ay, by) > high:
            continue
        for i in range(len(odd)):
            y = below[i]
            if right[i] != OUT and (ay <= y) != (by <= y):
                left, over = (y - ay) * (bx - ax), (right[i] - ax) * (by - ay)
                odd[i] ^= np.uint8(left <= over if by > ay else left >= over)
