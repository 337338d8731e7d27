"""What `sample` means, written for clarity: dense filter matrices, one image at a time.

Legend: N images, H x W source pixels, C source channels, S side of the output, K its channels,
B x D the tile (box). `columns.py` describes the parameters and the order of work.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..draws import philox
from .columns import (
    AFFINE,
    BEND,
    BENT,
    BLUR,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    BRIGHTNESS,
    CELLS,
    COLOUR,
    CONTRAST,
    DARKEST,
    EDGE,
    ERASE_HEIGHT,
    ERASE_LEFT,
    ERASE_TOP,
    ERASE_WIDTH,
    FILL,
    FLAGS,
    GAMMA,
    GRAY,
    HEIGHT,
    KEEP,
    KEY0,
    KEY1,
    LEFT,
    MIRROR,
    NOISE,
    NOISE_MEAN,
    NOISE_SD,
    ONE,
    POINTS,
    REFLECT,
    SATURATION,
    STAIN,
    STAIN_SHIFT,
    STAINED,
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

Array = NDArray[np.floating]
Whole = NDArray[np.int64]


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
    table: torch.Tensor | None = None,
    parts: int = 1,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,) int64, (N,3) int32, (N,P) int32 -> (N/parts,K,S,S) `dtype`.

    Computes in float64 when `dtype` is float64, otherwise in float32, and rounds once at the end.
    """
    real = np.float64 if dtype == torch.float64 else np.float32
    flat, out = pixels.numpy(), np.zeros((len(start) // parts, size, size, channels), real)
    tone = tone_curve(pixels.dtype, table).astype(real)
    level: Array = np.asarray(mean, real)
    spread: Array = np.asarray(std, real)
    for n, row in enumerate(params.tolist()):
        height, width, depth = shape[n].tolist()
        first = int(start[n])
        image = flat[first : first + height * width * depth].reshape(height, width, depth)
        light: Array = (develop(tone[image], row, size, channels) - level) / spread
        bottom, right = row[ERASE_TOP] + row[ERASE_HEIGHT], row[ERASE_LEFT] + row[ERASE_WIDTH]
        light[row[ERASE_TOP] : bottom, row[ERASE_LEFT] : right] = 0
        down, across = region(row, size)
        out[n // parts, down, across] = light[down, across]
    return torch.from_numpy(out).to(dtype).permute(0, 3, 1, 2)


def tone_curve(dtype: torch.dtype, table: torch.Tensor | None) -> NDArray[np.float64]:
    """Light of every raw level: (256,) for uint8, (65536,) for uint16."""
    if table is not None:
        return table.double().numpy()
    levels = torch.iinfo(dtype).max + 1
    return np.arange(levels) / (levels - 1)


def region(row: list[int], size: int) -> tuple[slice, slice]:
    """The rows and columns of the output that a row writes."""
    if not row[FLAGS] & KEEP:
        return slice(0, size), slice(0, size)
    top, left = row[BOX_TOP], row[BOX_LEFT]
    return slice(top, top + row[BOX_HEIGHT]), slice(left, left + row[BOX_WIDTH])


def develop(light: Array, row: list[int], size: int, channels: int) -> Array:
    """One image, before it is normalised: (H,W,C) in [0, 1], (P,) -> (S,S,K) in [0, 1]."""
    height, width, depth = light.shape
    real = light.dtype.type
    blur, flags = row[BLUR], row[FLAGS]
    down: Array = filters(row[TOP], row[HEIGHT], height, row[BOX_HEIGHT], blur).astype(real)
    across: Array = filters(row[LEFT], row[WIDTH], width, row[BOX_WIDTH], blur).astype(real)
    tile = np.einsum("yh,hwc->ywc", down, light, optimize=True)
    tile = np.einsum("xw,ywc->yxc", across, tile, optimize=True)
    if depth == 3 and channels == 1:
        tile = tile @ np.asarray(GRAY, real)[:, None]
    tile = tile[:, ::-1] if flags & MIRROR else tile
    tile = tile[::-1] if flags & UPEND else tile
    image = read(tile, row, *positions(row, size))
    if flags & STAINED and image.shape[-1] == 3:
        image = stain(image, row)
    if flags & COLOUR:
        image = colour(image, row, size)
    if row[GAMMA] != ONE:
        image = image ** real(row[GAMMA] / ONE)
    if row[NOISE]:
        image = np.clip(image + real(row[NOISE] / ONE) * noise(row, image.shape).astype(real), 0, 1)
    return np.broadcast_to(image, (size, size, channels)).astype(real)


def taps(first_q: int, length_q: int, source: int, size: int, blur_q: int = 0) -> tuple[Whole, ...]:
    """Which pixels make up each output: window (Q16), source pixels, S -> centre, lo, hi, support.

    Integer arithmetic only: centres (S,) Q16, pixels lo <= i < hi (S,), support (1,) Q16. Every
    back end must agree bit for bit.
    """
    o = np.arange(size, dtype=np.int64)
    centre = first_q + ((2 * o + 1) * length_q + size) // (2 * size)
    step = (2 * length_q + size) // (2 * size)
    support = max(ONE, step) + (blur_q * step >> Q)
    begin = max(0, first_q >> Q)
    end = min(source, (first_q + length_q + ONE - 1) >> Q)
    lo = np.clip((centre - support + HALF) >> Q, begin, end - 1)
    hi = np.clip((centre + support + HALF) >> Q, lo + 1, end)
    return centre, lo, hi, np.array([support])


def filters(
    first_q: int, length_q: int, source: int, size: int, blur_q: int = 0
) -> NDArray[np.float64]:
    """The triangle filter as a matrix: (S, source pixels), rows sum to 1."""
    centre, lo, hi, support = taps(first_q, length_q, source, size, blur_q)
    i = np.arange(source, dtype=np.int64)
    distance = np.abs(i * ONE + HALF - centre[:, None])
    weights = np.maximum(0.0, 1 - distance / support)
    weights[(i < lo[:, None]) | (i >= hi[:, None])] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def positions(row: list[int], size: int) -> tuple[Whole, Whole]:
    """Where in the output plane each pixel reads, before any flip: (S,S) u and v, Q16."""
    y, x = np.mgrid[:size, :size].astype(np.int64)
    u, v = x * ONE, y * ONE
    if row[FLAGS] & AFFINE:
        u, v = row[XX] * x + row[XY] * y + row[X0], row[YX] * x + row[YY] * y + row[Y0]
    if row[FLAGS] & BENT:
        right, down = displacement(row, size)
        u, v = u + right, v + down
    return u, v


def displacement(row: list[int], size: int) -> tuple[Whole, Whole]:
    """The B-spline of the control points: (S,S) x and y, Q16; integer arithmetic only."""
    packed = np.array(row[BEND:], np.int64).reshape(POINTS, POINTS)
    weights = splines(size)
    low = (packed & 0xFFFF) - ((packed & 0x8000) << 1)
    return bent(low, weights), bent(packed >> 16, weights)


def splines(size: int) -> Whole:
    """Weights of the control points for each output row or column: (S,7), Q16 (integers)."""
    place = (2 * np.arange(size, dtype=np.int64) + 1) * CELLS * ONE // (2 * size)
    cell, t = place >> Q, (place & (ONE - 1)) >> 6  # t in 1/1024
    s = 1024 - t
    cubes = (
        s**3,
        3 * t**3 - 6 * 1024 * t**2 + (4 << 30),
        3 * s**3 - 6 * 1024 * s**2 + (4 << 30),
        t**3,
    )
    weights = np.zeros((size, POINTS), np.int64)
    for k, cube in enumerate(cubes):
        weights[np.arange(size), cell + k] = (cube >> 14) * 10923 >> 16  # / 6, to Q16
    return weights


def bent(points: Whole, weights: Whole) -> Whole:
    """(7,7) in 1/256 pixel, (S,7) Q16 -> (S,S) Q16: down the columns first, then across."""
    return ((weights @ points >> 8) @ weights.T) >> Q


def read(tile: Array, row: list[int], u: Whole, v: Whole) -> Array:
    """Read the tile (B,D,c) at positions of the output, bilinearly -> (S,S,c)."""
    u, v = u - row[BOX_LEFT] * ONE, v - row[BOX_TOP] * ONE
    right, down = ((w & (ONE - 1)) / ONE for w in (u, v))
    out = np.zeros((*u.shape, tile.shape[-1]), tile.dtype)
    for i, low in ((v >> Q, 1 - down), ((v >> Q) + 1, down)):
        for j, near in ((u >> Q, 1 - right), ((u >> Q) + 1, right)):
            share = (low * near)[..., None].astype(tile.dtype)
            out += share * neighbours(tile, row, i, j)
    return out


def neighbours(tile: Array, row: list[int], i: Whole, j: Whole) -> Array:
    """Pixels (i, j) of the tile; beyond it FILL, the edge, or the mirror image."""
    height, width = tile.shape[:2]
    if row[FLAGS] & EDGE:
        return tile[np.clip(i, 0, height - 1), np.clip(j, 0, width - 1)]
    if row[FLAGS] & REFLECT:
        return tile[mirrored(i, height), mirrored(j, width)]
    inside = ((i >= 0) & (i < height) & (j >= 0) & (j < width))[..., None]
    found = tile[np.clip(i, 0, height - 1), np.clip(j, 0, width - 1)]
    return np.where(inside, found, tile.dtype.type(row[FILL] / ONE))


def mirrored(i: Whole, length: int) -> Whole:
    """... 1 0 | 0 1 ... length-1 | length-1 ...: the edge pixel is doubled."""
    turn = i % (2 * length)
    return np.minimum(turn, 2 * length - 1 - turn)


def stain(image: Array, row: list[int]) -> Array:
    """Optical density through the row's matrix and shift: (S,S,3) in [0, 1] -> the same."""
    real = image.dtype.type
    matrix = np.array(row[STAIN:STAIN_SHIFT], real).reshape(3, 3) / real(ONE)
    shift = np.array(row[STAIN_SHIFT : STAIN_SHIFT + 3], real) / real(ONE)
    density = -np.log(np.maximum(image, real(DARKEST)))
    return np.minimum(np.exp(-(density @ matrix.T + shift)), 1)


def colour(image: Array, row: list[int], size: int) -> Array:
    """Brightness, contrast, saturation in torchvision's order: (S,S,c) in [0, 1] -> the same."""
    real = image.dtype.type
    luma: Array = np.asarray(GRAY if image.shape[-1] == 3 else (1.0,), real)[:, None]
    brightness, contrast, saturation = (
        real(row[column] / ONE) for column in (BRIGHTNESS, CONTRAST, SATURATION)
    )
    image = np.clip(image * brightness, 0, 1)
    middle = (image @ luma)[region(row, size)].mean(dtype=real)
    image = np.clip(image * contrast + middle * (1 - contrast), 0, 1)
    if image.shape[-1] == 3:
        image = np.clip(image * saturation + (image @ luma) * (1 - saturation), 0, 1)
    return image


def noise(row: list[int], shape: tuple[int, ...]) -> Array:
    """(S,S,c) nearly normal numbers of mean 0 and deviation 1, from the row's key."""
    count = int(np.prod(shape))
    key = (row[KEY0] & 0xFFFFFFFF, row[KEY1] & 0xFFFFFFFF)
    words = philox((np.arange(-(-count // 4)), 0, 0, 0), key).reshape(-1)[:count]
    total = words.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return ((total - NOISE_MEAN) / NOISE_SD).reshape(shape)
