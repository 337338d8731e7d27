"""Masks of single objects on a GPU: a program does BLOCK positions of one object."""

from __future__ import annotations

import torch

from ..masks.triton import locate
from ..op import constants, triton_jit
from ..sample import columns

try:
    import triton.language as tl
except ImportError:  # the file can be imported; dispatch says what is missing
    tl = None  # type: ignore[assignment, unused-ignore]

BLOCK = 256

COLUMNS, Q, ONE = constants(columns, "COLUMNS Q ONE")


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
) -> torch.Tensor:
    """Fills `out` (M,T,T) from run ends (E,) int32; `regions` (M,4) int64 Q16. Checks nothing."""
    side = out.shape[-1]
    if len(out):
        grid = (len(out), -(-side * side // BLOCK))
        stride = shape.stride(0)
        _runs[grid](
            ends, start, image, shape, params, regions, out, size, side, stride, BLOCK=BLOCK
        )
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
) -> torch.Tensor:
    """Fills `out` (M,T,T); `vertices` (V,2) and `regions` (M,4) int64 Q16. Checks nothing."""
    side = out.shape[-1]
    if len(out):
        grid = (len(out), -(-side * side // BLOCK))
        _polygons[grid](
            vertices, rings, start, image, shape, params, regions, out, size, side,
            shape.stride(0), MOVED=moved, BLOCK=BLOCK,
        )  # fmt: skip
    return out


@triton_jit
def _spots(regions, m, side, BLOCK: tl.constexpr):
    """Number, x and y of this program's positions, and which of them count."""
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x0, y0 = tl.load(regions + 4 * m), tl.load(regions + 4 * m + 1)
    x1, y1 = tl.load(regions + 4 * m + 2), tl.load(regions + 4 * m + 3)
    some = (x1 > x0) & (y1 > y0)
    # A region without area is not divided: C rounds towards 0, and nothing of it is drawn.
    wide, high = tl.maximum(x1 - x0, 0), tl.maximum(y1 - y0, 0)
    cell_x, cell_y = 2 * (at % side).to(tl.int64) + 1, 2 * (at // side).to(tl.int64) + 1
    x = x0 + cell_x * wide // (2 * side) - ONE // 2
    y = y0 + cell_y * high // (2 * side) - ONE // 2
    return at, x, y, (at < side * side) & some


@triton_jit
def _runs(ends, start, image, shape, params, regions, out, size, side, stride, BLOCK: tl.constexpr):
    m = tl.program_id(0).to(tl.int64)
    n = tl.load(image + m)
    at, x, y, some = _spots(regions, m, side, BLOCK)
    height = tl.load(shape + n * stride).to(tl.int64)
    width = tl.load(shape + n * stride + 1).to(tl.int64)
    i, j, found, _ = locate(params + n * COLUMNS, height, width, size, x, y)
    pixel = j * height + i
    first = tl.load(start + m)
    span = tl.load(start + m + 1) - first
    low, high = tl.zeros_like(pixel), tl.zeros_like(pixel) + span
    while span > 0:  # halves until no object of this length can be left
        middle = (low + high) >> 1
        open_ = low < high
        end = tl.load(ends + first + middle, mask=open_, other=0).to(tl.int64)
        after = end <= pixel
        low = tl.where(open_ & after, middle + 1, low)
        high = tl.where(open_ & (after == 0), middle, high)
        span = span >> 1
    inside = ((low & 1) == 1) & found & some
    tl.store(out + m * side * side + at, inside.to(tl.uint8), mask=at < side * side)


@triton_jit
def _polygons(
    vertices, rings, start, image, shape, params, regions, out, size, side, stride,
    MOVED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64)
    n = tl.load(image + m)
    at, x, y, some = _spots(regions, m, side, BLOCK)
    height = tl.load(shape + n * stride).to(tl.int64)
    width = tl.load(shape + n * stride + 1).to(tl.int64)
    i, j, found, written = locate(params + n * COLUMNS, height, width, size, x, y)
    if MOVED:
        px, py, found = x + ONE // 2, y + ONE // 2, written
    else:
        px, py = (j << Q) + ONE // 2, (i << Q) + ONE // 2
    inside = tl.zeros_like(at)
    for ring in range(tl.load(start + m), tl.load(start + m + 1)):
        inside |= _cross(vertices, tl.load(rings + ring), tl.load(rings + ring + 1), px, py)
    inside = (inside == 1) & found & some
    tl.store(out + m * side * side + at, inside.to(tl.uint8), mask=at < side * side)


@triton_jit
def _cross(vertices, first, last, px, py):
    """Which points (BLOCK,) are inside a ring, by `reference.enclosed`: 0 or 1, int32."""
    odd = tl.zeros_like(px).to(tl.int32)
    for e in range(first, last):
        after = tl.where(e + 1 < last, e + 1, first)
        ax, ay = tl.load(vertices + 2 * e), tl.load(vertices + 2 * e + 1)
        bx, by = tl.load(vertices + 2 * after), tl.load(vertices + 2 * after + 1)
        left, over = (py - ay) * (bx - ax), (px - ax) * (by - ay)
        hit = tl.where(by > ay, left <= over, left >= over)
        odd ^= (((ay <= py) != (by <= py)) & hit).to(tl.int32)
    return odd
