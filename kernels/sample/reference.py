"""What `sample` means, written for clarity: dense filter matrices, one image at a time.

Legend: N images, H x W source pixels, C source channels, S side of the output, K its channels.
`params.py` describes the columns and the order of work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .params import (
    AFFINE,
    BRIGHTNESS,
    COLOUR,
    CONTRAST,
    FLAGS,
    HEIGHT,
    LEFT,
    MIRROR,
    ONE,
    SATURATION,
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

GRAY = (0.2989, 0.587, 0.114)  # ITU-R 601 as torchvision rounds it: white becomes 0.9999
HALF = ONE // 2

Array = NDArray[np.floating]


def reference(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,) int64, (N,3) int32, (N,P) int32 -> (N,K,S,S) `dtype`.

    Computes in float64 when `dtype` is float64, otherwise in float32, and rounds once at the end.
    """
    real = np.float64 if dtype == torch.float64 else np.float32
    flat, out = pixels.numpy(), np.empty((len(start), size, size, channels), real)
    for n, row in enumerate(params.tolist()):
        height, width, depth = shape[n].tolist()
        first = int(start[n])
        image = flat[first : first + height * width * depth].reshape(height, width, depth)
        out[n] = develop(image, row, size, channels, real)
    out = (out - np.asarray(mean, real)) / np.asarray(std, real)
    return torch.from_numpy(out).to(dtype).permute(0, 3, 1, 2)


def develop(image: NDArray, row: list[int], size: int, channels: int, real: type) -> Array:
    """One image, before it is normalised: (H,W,C) integers, (P,) -> (S,S,K) in [0, 1]."""
    height, width, depth = image.shape
    down: Array = filters(row[TOP], row[HEIGHT], height, size).astype(real)
    across: Array = filters(row[LEFT], row[WIDTH], width, size).astype(real)
    light = image.astype(real) / real(np.iinfo(image.dtype).max)
    tile = np.einsum("yh,hwc->ywc", down, light, optimize=True)
    tile = np.einsum("xw,ywc->yxc", across, tile, optimize=True)
    if depth == 3 and channels == 1:
        tile = tile @ np.asarray(GRAY, real)[:, None]
    if row[FLAGS] & MIRROR:
        tile = tile[:, ::-1]
    if row[FLAGS] & UPEND:
        tile = tile[::-1]
    if row[FLAGS] & AFFINE:
        tile = turn(tile, row)
    if row[FLAGS] & COLOUR:
        tile = colour(tile, row, real)
    return np.broadcast_to(tile, (size, size, channels))


def taps(first_q: int, length_q: int, source: int, size: int) -> tuple[NDArray[np.int64], ...]:
    """Which pixels make up each output: window (Q16), source pixels, S -> centre, lo, hi, support.

    Integer arithmetic only: centres (S,) Q16, pixels lo <= i < hi (S,), support (1,) Q16. Every
    back end must agree bit for bit.
    """
    o = np.arange(size, dtype=np.int64)
    centre = first_q + ((2 * o + 1) * length_q + size) // (2 * size)
    support = max(ONE, (2 * length_q + size) // (2 * size))
    begin = max(0, first_q >> Q)
    end = min(source, (first_q + length_q + ONE - 1) >> Q)
    lo = np.clip((centre - support + HALF) >> Q, begin, end - 1)
    hi = np.clip((centre + support + HALF) >> Q, lo + 1, end)
    return centre, lo, hi, np.array([support])


def filters(first_q: int, length_q: int, source: int, size: int) -> NDArray[np.float64]:
    """The triangle filter as a matrix: (S, source pixels), rows sum to 1."""
    centre, lo, hi, support = taps(first_q, length_q, source, size)
    i = np.arange(source, dtype=np.int64)
    distance = np.abs(i * ONE + HALF - centre[:, None])
    weights = np.maximum(0.0, 1 - distance / support)
    weights[(i < lo[:, None]) | (i >= hi[:, None])] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def turn(tile: Array, row: list[int]) -> Array:
    """Read the tile at affine positions, bilinearly: (S,S,K) -> (S,S,K). Outside is 0."""
    size = len(tile)
    y, x = np.mgrid[:size, :size].astype(np.int64)
    u = row[XX] * x + row[XY] * y + row[X0]
    v = row[YX] * x + row[YY] * y + row[Y0]
    out = np.zeros_like(tile)
    for down in (0, 1):
        for right in (0, 1):
            i, j = (v >> Q) + down, (u >> Q) + right
            inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
            share = np.abs(1 - down - (v & (ONE - 1)) / ONE) * np.abs(
                1 - right - (u & (ONE - 1)) / ONE
            )
            value = tile[np.clip(i, 0, size - 1), np.clip(j, 0, size - 1)]
            out += ((share * inside)[..., None] * value).astype(tile.dtype)
    return out


def colour(tile: Array, row: list[int], real: type) -> Array:
    """Brightness, contrast, saturation in torchvision's order: (S,S,K) in [0, 1] -> the same."""
    luma: Array = np.asarray(GRAY if tile.shape[-1] == 3 else (1.0,), real)[:, None]
    brightness, contrast, saturation = (
        real(row[column] / ONE) for column in (BRIGHTNESS, CONTRAST, SATURATION)
    )
    tile = np.clip(tile * brightness, 0, 1)
    tile = np.clip(tile * contrast + (tile @ luma).mean(dtype=real) * (1 - contrast), 0, 1)
    if tile.shape[-1] == 3:
        tile = np.clip(tile * saturation + (tile @ luma) * (1 - saturation), 0, 1)
    return tile
