"""Step 7 on a CPU: planes of light -> normalised, interleaved output in float32 or 16 bits.

Legend: S side of the output, c planes, K channels of the output.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import ERASE_HEIGHT, ERASE_LEFT, ERASE_TOP, ERASE_WIDTH
from .lanes import bare, load16, mul16, splat16, store16, sub16, weave3
from .resize import LANES

F32, BF16, F16 = 0, 1, 2


@jit
def store(image, row, c, region, size, mean, gain, value, kind, full, bits):
    """Planes of `region` (top, left, B, D) -> one output, (S * S * K,) of `full` or `bits`."""
    top, left, height, width = region
    many, plane = len(mean), height * width if c == 3 else 0 * height
    level = (mean[0], mean[many // 2], mean[many - 1], gain[0], gain[many // 2], gain[many - 1])
    for y in range(height):
        begin = ((top + y) * size + left) * many
        line, first = (bare(full), begin) if kind == F32 else (bare(value), 0 * begin)
        if many == 1:
            normalise(bare(image), y * width, width, level, line, first)
        else:
            normalise_rgb(bare(image), y * width, plane, width, level, line, first)
        erased = top + y - row[ERASE_TOP]
        if 0 <= erased < row[ERASE_HEIGHT]:
            lo = first + max(row[ERASE_LEFT] - left, 0) * many
            hi = first + min(row[ERASE_LEFT] + row[ERASE_WIDTH] - left, width) * many
            for i in range(lo, hi):
                line[i] = np.float32(0)
        if kind != F32:
            pack(value[: width * many], kind, bits[begin : begin + width * many])


@jit
def normalise(image, at, width, level, out, first):
    """One gray row, from image[at] on: (D,) -> (D,), (value - mean) * gain."""
    mean, _, _, gain, _, _ = level
    whole, m, g = width - width % LANES, splat16(mean), splat16(gain)
    for x in range(0, whole, LANES):
        store16(out, first + x, mul16(sub16(load16(image, at + x), m), g))
    for x in range(whole, width):
        out[first + x] = (image[at + x] - mean) * gain


@jit
def normalise_rgb(image, at, plane, width, level, out, first):
    """One row of three channels, `plane` values apart (0: of gray) -> (D * 3,)."""
    mean_r, mean_g, mean_b, gain_r, gain_g, gain_b = level
    mr, mg, mb = splat16(mean_r), splat16(mean_g), splat16(mean_b)
    gr, gg, gb = splat16(gain_r), splat16(gain_g), splat16(gain_b)
    whole, other, third = width - width % LANES, at + plane, at + 2 * plane
    for x in range(0, whole, LANES):
        red = mul16(sub16(load16(image, at + x), mr), gr)
        green = mul16(sub16(load16(image, other + x), mg), gg)
        blue = mul16(sub16(load16(image, third + x), mb), gb)
        weave3(out, first + 3 * x, red, green, blue)
    for x in range(whole, width):
        out[first + 3 * x] = (image[at + x] - mean_r) * gain_r
        out[first + 3 * x + 1] = (image[other + x] - mean_g) * gain_g
        out[first + 3 * x + 2] = (image[third + x] - mean_b) * gain_b


@jit
def pack(value, kind, bits):
    """float32 -> 16 bits, round to nearest even; numba has no type for either."""
    if kind == BF16:
        to_bfloat16(value, bits)
    else:
        to_half(value, bits)


@jit
def to_bfloat16(value, bits):
    """(n,) float32 -> (n,) uint16 patterns of bfloat16, as torch's cast; NaN stays NaN."""
    u = value.view(np.uint32)
    for i in range(len(bits)):
        odd = (u[i] >> np.uint32(16)) & np.uint32(1)
        near = (u[i] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
        nan = (u[i] & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        bits[i] = np.uint16(0x7FC0) if nan else np.uint16(near)


@jit
def to_half(value, bits):
    """(n,) float32 -> (n,) uint16 patterns of float16, as torch's cast; overwrites `value`."""
    u = value.view(np.uint32)
    for i in range(len(bits)):
        size = u[i] & np.uint32(0x7FFFFFFF)
        sign = np.uint16((u[i] >> np.uint32(16)) & np.uint32(0x8000))
        odd = (u[i] >> np.uint32(13)) & np.uint32(1)
        # Rebias the exponent from 127 to 15 and round the 13 bits that go.
        near = (size - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
        if size >= np.uint32(0x47800000):  # 2^16 and more: infinity or NaN
            near = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else np.uint32(0x7C00)
        bits[i] = np.uint16(near & np.uint32(0x7FFF)) | sign
        value[i] = abs(value[i]) + np.float32(0.5)
    # Below 2^-14 a half is a multiple of 2^-24, the spacing of float32 in [0.5, 1): the sum has
    # already been rounded by the hardware, and its low bits are the pattern (0x400: 2^-14).
    for i in range(len(bits)):
        if u[i] <= np.uint32(0x3F000400):
            bits[i] = (bits[i] & np.uint16(0x8000)) | np.uint16(u[i] & np.uint32(0x7FF))
