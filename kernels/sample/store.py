"""Step 7 on a CPU: planes of light -> normalised, interleaved output in float32 or 16 bits.

Legend: S side of the output, c planes, K channels of the output.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import ERASE_HEIGHT, ERASE_LEFT, ERASE_TOP, ERASE_WIDTH
from .lanes import (
    bare,
    load16,
    mad16,
    mul16,
    splat16,
    store16,
    stream3,
    sub16,
    unit16,
    weave3,
)
from .resize import LANES

F32, BF16, F16 = 0, 1, 2
ZERO, WHOLE = np.float32(0), np.float32(1)


@jit
def store(image, row, c, region, size, mean, gain, late, value, kind, full, bits, streamed):
    """Planes of `region` (top, left, B, D) -> one output, (S * S * K,) of `full` or `bits`.

    `late` is the colour that `tone.tone` left to do.
    """
    top, left, height, width = region
    many, plane = len(mean), height * width if c == 3 else 0 * height
    level = (mean[0], mean[many // 2], mean[many - 1], gain[0], gain[many // 2], gain[many - 1])
    for y in range(height):
        begin = ((top + y) * size + left) * many
        line, first = (bare(full), begin) if kind == F32 else (bare(value), 0 * begin)
        if many == 1:
            normalise(bare(image), y * width, width, level, late, line, first)
        else:
            at = y * width
            normalise_rgb(bare(image), at, plane, width, level, late, line, first, streamed)
        erased = top + y - row[ERASE_TOP]
        if 0 <= erased < row[ERASE_HEIGHT]:
            lo = first + max(row[ERASE_LEFT] - left, 0) * many
            hi = first + min(row[ERASE_LEFT] + row[ERASE_WIDTH] - left, width) * many
            for i in range(lo, hi):
                line[i] = np.float32(0)
        if kind != F32:
            pack(value[: width * many], kind, bits[begin : begin + width * many])


@jit
def finish16(image, at, late, mean, gain):
    """16 values: coloured, less their mean, times their gain."""
    b, c, more = late
    light = unit16(mul16(load16(image, at), splat16(b)))
    light = unit16(mad16(light, splat16(c), splat16(more)))
    return mul16(sub16(light, splat16(mean)), splat16(gain))


@jit
def finish(light, late, mean, gain):
    """One value, the same."""
    b, c, more = late
    light = min(max(light * b, ZERO), WHOLE)
    return (min(max(light * c + more, ZERO), WHOLE) - mean) * gain


@jit
def normalise(image, at, width, level, late, out, first):
    """One gray row, from image[at] on: (D,) -> (D,)."""
    mean, _, _, gain, _, _ = level
    whole = width - width % LANES
    for x in range(0, whole, LANES):
        store16(out, first + x, finish16(image, at + x, late, mean, gain))
    for x in range(whole, width):
        out[first + x] = finish(image[at + x], late, mean, gain)


@jit
def normalise_rgb(image, at, plane, width, level, late, out, first, streamed):
    """One row of three channels, `plane` values apart (0: of gray) -> (D * 3,)."""
    mean_r, mean_g, mean_b, gain_r, gain_g, gain_b = level
    whole, other, third = width - width % LANES, at + plane, at + 2 * plane
    for x in range(0, whole, LANES):
        red = finish16(image, at + x, late, mean_r, gain_r)
        green = finish16(image, other + x, late, mean_g, gain_g)
        blue = finish16(image, third + x, late, mean_b, gain_b)
        if streamed:
            stream3(out, first + 3 * x, red, green, blue)
        else:
            weave3(out, first + 3 * x, red, green, blue)
    for x in range(whole, width):
        out[first + 3 * x] = finish(image[at + x], late, mean_r, gain_r)
        out[first + 3 * x + 1] = finish(image[other + x], late, mean_g, gain_g)
        out[first + 3 * x + 2] = finish(image[third + x], late, mean_b, gain_b)


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
