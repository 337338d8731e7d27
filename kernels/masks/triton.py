"""Label maps on a GPU, and the source pixels that instance masks are traced by too.

All integers, int64: the same bits as `reference`. A program does BLOCK positions of one row.
"""

from __future__ import annotations

import torch

from ..op import constants, triton_jit
from ..sample import columns

try:
    import triton.language as tl
except ImportError:  # the file can be imported; dispatch says what is missing
    tl = None  # type: ignore[assignment, unused-ignore]

BLOCK = 512

COLUMNS, POINTS, CELLS, FLAGS, BEND, Q, ONE = constants(
    columns, "COLUMNS POINTS CELLS FLAGS BEND Q ONE"
)
TOP, LEFT, HEIGHT, WIDTH = constants(columns, "TOP LEFT HEIGHT WIDTH")
XX, XY, X0, YX, YY, Y0 = constants(columns, "XX XY X0 YX YY Y0")
BOX_TOP, BOX_LEFT, BOX_HEIGHT, BOX_WIDTH = constants(
    columns, "BOX_TOP BOX_LEFT BOX_HEIGHT BOX_WIDTH"
)
MIRROR, UPEND, AFFINE, EDGE, REFLECT, BENT, KEEP = constants(
    columns, "MIRROR UPEND AFFINE EDGE REFLECT BENT KEEP"
)


def nearest(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    out: torch.Tensor,
    outside: int,
    parts: int,
) -> torch.Tensor:
    """Fills `out` (N/parts,S,S), which holds `outside`. Checks nothing."""
    size = out.shape[-1]
    if len(start):
        grid = (-(-size * size // BLOCK), len(start))
        _nearest[grid](
            labels, start, shape, params, out, size, outside, parts, shape.stride(0), BLOCK=BLOCK
        )
    return out


@triton_jit
def _nearest(labels, start, shape, params, out, size, outside, parts, stride, BLOCK: tl.constexpr):
    n = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = params + n * COLUMNS
    height, width = tl.load(shape + n * stride).to(tl.int64), tl.load(shape + n * stride + 1)
    width = width.to(tl.int64)
    y, x = (at // size).to(tl.int64) << Q, (at % size).to(tl.int64) << Q
    i, j, found, written = locate(row, height, width, size, x, y)
    # `!= 0`: Triton 3.9 interprets a scalar's comparison as an int32, and refuses it as a mask.
    written = (written & (at < size * size)) != 0
    found = (found & written) != 0
    first = tl.load(start + n)
    label = tl.load(labels + first + i * width + j, mask=found, other=0)
    label = tl.where(found, label, tl.full(label.shape, outside, label.dtype))
    tl.store(out + (n // parts) * size * size + at, label, mask=written)


@triton_jit
def column(row, number):
    """One column of a row, int64."""
    return tl.load(row + number).to(tl.int64)


@triton_jit
def locate(row, height, width, size, x, y):
    """Source rows and columns at positions (BLOCK,) Q16, where there is one, what is written."""
    flags = tl.load(row + FLAGS)
    u, v = x, y
    if flags & AFFINE:
        u = ((column(row, XX) * x + column(row, XY) * y) >> Q) + column(row, X0)
        v = ((column(row, YX) * x + column(row, YY) * y) >> Q) + column(row, Y0)
    if flags & BENT:
        right, down = displace(row, size, x, y)
        u += right
        v += down
    corner_x, side_x = column(row, BOX_LEFT), column(row, BOX_WIDTH)
    corner_y, side_y = column(row, BOX_TOP), column(row, BOX_HEIGHT)
    i, high = pixels(
        v, flags, flags & UPEND, column(row, TOP), column(row, HEIGHT), corner_y, side_y, height
    )
    j, wide = pixels(
        u, flags, flags & MIRROR, column(row, LEFT), column(row, WIDTH), corner_x, side_x, width
    )
    across, below = x + ONE // 2 - corner_x * ONE, y + ONE // 2 - corner_y * ONE
    own = (across >= 0) & (across < side_x * ONE) & (below >= 0) & (below < side_y * ONE)
    written = own | ((flags & KEEP) == 0)
    return i, j, high & wide & written, written


@triton_jit
def pixels(u, flags, flip, first, window, corner, box, source):
    """Source pixels of one axis, and where there is one."""
    reach = box * ONE
    t = u - corner * ONE + ONE // 2
    inside = ((t >= 0) & (t < reach)) | ((flags & (EDGE | REFLECT)) != 0)
    turn = t % (2 * reach)
    turn = tl.where(turn < 0, turn + 2 * reach, turn)  # C's remainder has the sign of t
    mirrored = tl.minimum(turn, 2 * reach - 1 - turn)
    t = tl.where((flags & (EDGE | REFLECT)) == REFLECT, mirrored, t)
    t = tl.minimum(tl.maximum(t, 0), reach - 1)
    t = tl.where(flip != 0, reach - t, t)
    ratio = (window + box // 2) // box
    pixel = (first + ((t * ratio) >> Q)) >> Q
    last = tl.minimum(source, (first + window + ONE - 1) >> Q) - 1
    return tl.minimum(tl.maximum(pixel, first >> Q), last), inside


@triton_jit
def displace(row, size, x, y):
    """The displacement at positions (BLOCK,) Q16 -> x and y, Q16."""
    cell_x, left = cell_of(x, size)
    cell_y, top = cell_of(y, size)
    right, down = tl.zeros_like(x), tl.zeros_like(y)
    for j in tl.static_range(4):
        across, along = tl.zeros_like(x), tl.zeros_like(y)
        for i in tl.static_range(4):
            packed = tl.load(row + BEND + (cell_y + i) * POINTS + cell_x + j)
            weight = cube(top, i)
            across += weight * ((packed << 16) >> 16).to(tl.int64)
            along += weight * (packed >> 16).to(tl.int64)
        weight = cube(left, j)
        right += weight * (across >> 8)
        down += weight * (along >> 8)
    return right >> Q, down >> Q


@triton_jit
def cell_of(x, size):
    """Cell of a position, and the place within it in 1/1024."""
    size = tl.full((), size, tl.int64)
    place = tl.minimum(tl.maximum(2 * x + ONE, 0), 2 * size * ONE - 1) * CELLS // (2 * size)
    return place >> Q, (place & (ONE - 1)) >> 6


@triton_jit
def cube(t, k: tl.constexpr):
    """Weight of control point k of a cell, Q16."""
    s = 1024 - t
    if k == 0:
        found = s * s * s
    elif k == 1:
        found = 3 * t * t * t - 6144 * t * t + 4294967296
    elif k == 2:
        found = 3 * s * s * s - 6144 * s * s + 4294967296
    else:
        found = t * t * t
    return ((found >> 14) * 10923) >> 16
