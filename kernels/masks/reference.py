"""Which source pixel each output position shows, and label maps by it, in plain numpy.

Legend: N rows of parameters, H x W source pixels, S side of the output in pixels. Positions count
from pixel centres, in Q16: pixel x is x << 16. The rule is in `sample/columns.py`, under Masks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

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
Whole = NDArray[np.int64]


def reference(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    outside: int = 0,
    parts: int = 1,
) -> torch.Tensor:
    """(flat) uint8/uint16/int32, (N,) int64, (N,2 or 3), (N,P) int32 -> (N/parts,S,S)."""
    flat = labels.numpy()
    out = np.full((len(start) // parts, size, size), outside, flat.dtype)
    y, x = np.mgrid[:size, :size].astype(np.int64) << Q
    for n, row in enumerate(params.tolist()):
        height, width = shape[n, :2].tolist()
        image = flat[int(start[n]) : int(start[n]) + height * width].reshape(height, width)
        i, j, found = locate(row, height, width, size, x, y)
        label = np.where(found, image[np.maximum(i, 0), np.maximum(j, 0)], outside)
        written = within(row, x, y)
        out[n // parts][written] = label[written]
    return torch.from_numpy(out)


def within(row: list[int], x: Whole, y: Whole) -> NDArray[np.bool_]:
    """Whether the row writes these positions: everywhere, or (KEEP) in its own box."""
    found = np.ones(x.shape, bool)
    if row[FLAGS] & KEEP:
        for at, first, side in ((x, BOX_LEFT, BOX_WIDTH), (y, BOX_TOP, BOX_HEIGHT)):
            found &= (at + HALF >= row[first] * ONE) & (at + HALF < (row[first] + row[side]) * ONE)
    return found


def locate(
    row: list[int], height: int, width: int, size: int, x: Whole, y: Whole
) -> tuple[Whole, Whole, NDArray[np.bool_]]:
    """Source rows and columns shown at positions (...), and where there is one."""
    u, v = read_at(row, size, x, y)
    flags = row[FLAGS]
    columns = _pixels(u, row, (LEFT, WIDTH, BOX_LEFT, BOX_WIDTH), width, flags & MIRROR)
    rows = _pixels(v, row, (TOP, HEIGHT, BOX_TOP, BOX_HEIGHT), height, flags & UPEND)
    return rows, columns, (rows >= 0) & (columns >= 0) & within(row, x, y)


def _pixels(u: Whole, row: list[int], at: tuple[int, ...], source: int, flip: int) -> Whole:
    """Source pixels of one axis, -1 where there is none."""
    first, window, corner, box = (row[column] for column in at)
    reach = box * ONE
    t = u - corner * ONE + HALF
    inside = (t >= 0) & (t < reach)
    if row[FLAGS] & EDGE:
        t, inside = np.clip(t, 0, reach - 1), inside | True
    elif row[FLAGS] & REFLECT:
        turn = t % (2 * reach)
        t, inside = np.minimum(turn, 2 * reach - 1 - turn), inside | True
    t = reach - t if flip else t
    ratio = (window + box // 2) // box
    pixel = (first + (t * ratio >> Q)) >> Q
    end = min(source, (first + window + ONE - 1) >> Q)
    return np.where(inside, np.clip(pixel, max(0, first >> Q), end - 1), -1)


def read_at(row: list[int], size: int, x: Whole, y: Whole) -> tuple[Whole, Whole]:
    """`sample.reference.positions` at any positions (...), Q16 -> u, v (...), Q16."""
    u, v = x, y
    if row[FLAGS] & AFFINE:
        u = (row[XX] * x + row[XY] * y >> Q) + row[X0]
        v = (row[YX] * x + row[YY] * y >> Q) + row[Y0]
    if row[FLAGS] & BENT:
        packed = np.array(row[BEND:], np.int64).reshape(POINTS, POINTS)
        low = (packed & 0xFFFF) - ((packed & 0x8000) << 1)
        across, down = spline(x, size), spline(y, size)
        u, v = u + _blend(low, across, down), v + _blend(packed >> 16, across, down)
    return u, v


def spline(x: Whole, size: int) -> Whole:
    """Weights of the control points at positions (...): (...,7), Q16, as `reference.splines`."""
    place = np.clip(2 * x + ONE, 0, 2 * size * ONE - 1) * CELLS // (2 * size)
    cell, t = place >> Q, (place & (ONE - 1)) >> 6
    s = 1024 - t
    full = 4 << 30
    cubes = (s**3, 3 * t**3 - 6144 * t**2 + full, 3 * s**3 - 6144 * s**2 + full, t**3)
    weights = np.zeros((*x.shape, POINTS), np.int64)
    for k, cube in enumerate(cubes):
        np.put_along_axis(
            weights, (cell + k)[..., None], ((cube >> 14) * 10923 >> 16)[..., None], -1
        )
    return weights


def _blend(points: Whole, across: Whole, down: Whole) -> Whole:
    """(7,7) in 1/256 pixel, (...,7), (...,7) -> (...) Q16: down the columns first, then across."""
    return ((down @ points >> 8) * across).sum(axis=-1) >> Q
