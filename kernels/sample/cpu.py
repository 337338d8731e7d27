"""`sample` on a CPU: one pass per image from raw pixels to the finished, normalised output.

Legend: S side of the output, c channels of the tile (1 or 3), K channels of the output.

Each step has a file: taps.py and resize.py (the window becomes a tile), turn.py (affine, bend and
border), tone.py (stain, colour, gamma, noise), store.py (normalise, 16 bits). The light is planar
float32 and stays in L2 (S = 224: 200 KB gray, 600 KB RGB) until it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..op import jit
from ..pool import spread
from .columns import (
    AFFINE,
    BENT,
    BLUR,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    FLAGS,
    HEIGHT,
    KEEP,
    LEFT,
    MIRROR,
    TOP,
    UPEND,
    WIDTH,
)
from .resize import bench, resize
from .store import BF16, F16, F32, store
from .taps import fill, room
from .tone import tone
from .turn import rim, splines, surround, turn

STREAMED = 4 << 20
"""Bytes of a batch from which on it goes past the caches: their contents are needed sooner."""


def fused(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    table: torch.Tensor | None,
    parts: int,
    out: torch.Tensor,
    threads: int,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,), (N,3), (N,P) -> fills `out`, (N/parts,K,S,S) as (...,S,S,K).

    Checks nothing (`op.sample` does). float64 holds float32 results: the tile is float32.
    """
    if out.dtype == torch.float64:
        single = torch.empty_like(out, dtype=torch.float32)
        fused(
            pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
            table=table, parts=parts, out=single, threads=threads,
        )  # fmt: skip
        return out.copy_(single)
    stored = out.permute(0, 2, 3, 1).view(len(out), size * size * channels)
    kind = {torch.float32: F32, torch.bfloat16: BF16, torch.float16: F16}[out.dtype]
    full = stored.numpy() if kind == F32 else np.empty((0, 0), np.float32)
    bits = stored.view(torch.uint16).numpy() if kind != F32 else np.empty((0, 0), np.uint16)
    light = np.empty(0, np.float32) if table is None else table.numpy()
    batch = (pixels.numpy(), start.numpy(), shape.numpy(), params.numpy(), parts)
    level = (np.asarray(mean, np.float32), 1 / np.asarray(std, np.float32))
    streamed = parts == 1 and channels == 3 and _can_stream(out)

    def work(lo: int, hi: int) -> None:
        _range(*batch, lo, hi, size, light, *level, kind, full, bits, streamed)

    spread(work, len(out), threads)
    return out


def _can_stream(out: torch.Tensor) -> bool:
    """Whether rows of `out` begin at multiples of 64 bytes and it is too large for the caches."""
    whole = out.dtype == torch.float32 and out.shape[-1] % 16 == 0 and out.data_ptr() % 64 == 0
    return whole and 4 * out.numel() >= STREAMED


@jit
def _range(
    pixels, start, shape, params, parts, begin, end, size, light, mean, gain, kind, full, bits,
    streamed,
):  # fmt: skip
    """Outputs begin to end - 1, one after the other, with one set of scratch arrays."""
    rows = slice(begin * parts, end * parts)
    axes, scratch = workshop(shape[rows], params[rows], size, len(mean))
    image, value = scratch[2], scratch[4]
    flat_full, flat_bits = full.reshape(full.size), bits.reshape(bits.size)
    area = size * size * len(mean)
    for output in range(begin, end):
        written = slice(output * area, (output + 1) * area)
        one, packed = flat_full[written], flat_bits[written]
        keeps = True
        for n in range(output * parts, (output + 1) * parts):
            keeps = keeps and params[n, FLAGS] & KEEP != 0
        if keeps:
            one[:], packed[:] = 0, 0
        for n in range(output * parts, (output + 1) * parts):
            row, c = params[n], min(np.int64(shape[n, 2]), len(mean))
            region = develop(pixels, start[n], shape[n], row, c, size, light, axes, scratch)
            late = tone(image, row, c, region, size, value)
            whole = streamed and region[3] == size
            store(image, row, c, region, size, mean, gain, late, value, kind, one, packed, whole)


@jit
def workshop(shape, params, size, channels):
    """Scratch arrays that fit every row: of the two axes, and of the light."""
    down = over = widest = taps = tile = np.int64(1)
    for n in range(len(params)):
        row, c = params[n], min(np.int64(shape[n, 2]), channels)
        height, width = np.int64(row[BOX_HEIGHT]), np.int64(row[BOX_WIDTH])
        down = max(down, height * room(row[HEIGHT], height, row[BLUR]))
        most = room(row[WIDTH], width, row[BLUR])
        over, taps = max(over, width * most), max(taps, most * shape[n, 2])
        widest = max(widest, np.int64(shape[n, 1]) * shape[n, 2])
        if row[FLAGS] & (AFFINE | BENT):
            tile = max(tile, (height + 3) * (width + 3) * (4 if c == 3 else 1))
    weight = (np.empty(down, np.float32), np.empty(over, np.float32))
    axes = (np.empty((2, size), np.int64), np.empty((2, size), np.int64), *weight)
    image, turned = np.empty(size * size * 3, np.float32), np.empty(tile, np.float32)
    value = np.empty(size * 3 + 8, np.float32)
    return axes, (bench(widest, taps), turned, image, splines(size), value)


@jit
def develop(pixels, first, shape, row, c, size, light, axes, scratch):
    """Steps 1 to 3 of one row -> planes of the region (top, left, B, D) that the row writes."""
    work, tile, image, spline, _ = scratch
    rows, columns = aim(shape, row, axes)
    height, width = np.int64(row[BOX_HEIGHT]), np.int64(row[BOX_WIDTH])
    top, left = np.int64(row[BOX_TOP]), np.int64(row[BOX_LEFT])
    region = (top, left, height, width) if row[FLAGS] & KEEP else (0 * top, 0 * top, size, size)
    if row[FLAGS] & (AFFINE | BENT):
        layout = rim(tile, row, c)
        resize(pixels, first, shape, c, rows, columns, light, work, tile, layout)
        turn(tile, row, c, region, spline, image)
        return region
    pitch, one = region[3], 1 + 0 * top
    layout = (width, (top - region[0]) * pitch + left - region[1], pitch, one, region[2] * pitch)
    resize(pixels, first, shape, c, rows, columns, light, work, image, layout)
    if height != region[2] or width != region[3]:
        surround(image, row, c, size)
    return region


@jit
def aim(shape, row, axes):
    """The taps of both axes of one row: (lo, count, weight) of its rows and of its columns."""
    lo, count, down, over = axes
    height, width = np.int64(row[BOX_HEIGHT]), np.int64(row[BOX_WIDTH])
    most = room(row[HEIGHT], height, row[BLUR])
    rows = (lo[0, :height], count[0, :height], down[: height * most].reshape(most, height))
    most = room(row[WIDTH], width, row[BLUR])
    columns = (lo[1, :width], count[1, :width], over[: width * most].reshape(most, width))
    fill(row[TOP], row[HEIGHT], shape[0], row[FLAGS] & UPEND, row[BLUR], *rows)
    fill(row[LEFT], row[WIDTH], shape[1], row[FLAGS] & MIRROR, row[BLUR], *columns)
    return rows, columns
