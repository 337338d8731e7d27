"""Step 7 on a CPU: planes of light -> normalised, interleaved output in float32 or 16 bits.

Legend: S side of the output, c planes, K channels of the output.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import ERASE_HEIGHT, ERASE_LEFT, ERASE_TOP, ERASE_WIDTH

F32, BF16, F16 = 0, 1, 2


@jit
def store(image, row, c, region, size, mean, gain, value, kind, full, bits):
    """Planes of `region` (top, left, B, D) -> one output, (S * S * K,) of `full` or `bits`."""
    top, left, height, width = region
    many = len(mean)
    for y in range(height):
        begin = ((top + y) * size + left) * many
        line = full[begin : begin + width * many] if kind == F32 else value[: width * many]
        normalise(image[y * width :], height * width, c, mean, gain, line)
        erased = top + y - row[ERASE_TOP]
        if 0 <= erased < row[ERASE_HEIGHT]:
            lo = max(row[ERASE_LEFT] - left, 0) * many
            hi = min(row[ERASE_LEFT] + row[ERASE_WIDTH] - left, width) * many
            for i in range(lo, hi):
                line[i] = np.float32(0)
        if kind != F32:
            pack(line, kind, bits[begin : begin + width * many])


@jit
def normalise(image, plane, c, mean, gain, out):
    """One row: planes (D,) -> (D * K,), (value - mean) * gain; gray is repeated."""
    if len(mean) == 1:
        m, g = mean[0], gain[0]
        for i in range(len(out)):
            out[i] = (image[i] - m) * g
        return
    apart = plane if c == 3 else 0
    width = len(out) // 3
    red, green, blue = image[:width], image[apart : apart + width], image[2 * apart :]
    r, g, b = mean[0], mean[1], mean[2]
    gain_r, gain_g, gain_b = gain[0], gain[1], gain[2]
    for i in range(width):
        out[3 * i] = (red[i] - r) * gain_r
        out[3 * i + 1] = (green[i] - g) * gain_g
        out[3 * i + 2] = (blue[i] - b) * gain_b


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
