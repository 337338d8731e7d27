"""`sample` on a CPU: one pass per image from raw pixels to the finished, normalised output.

Legend: S side of the output, c channels of the tile (1 or 3), K channels of the output.

Rows first (neighbouring bytes, all SIMD), then columns, into a float32 tile that stays in L2
(S = 224: 200 KB gray, 600 KB RGB); then the affine, colour and the store. How loops are written
matters here: they count from 0 over slices or use unsigned indices, because with an unknown lower
bound numba keeps the test for negative indices and does not vectorise (318 us became 131).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..op import jit
from ..pool import spread
from .columns import (
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
from .reference import GRAY

HALF = ONE // 2
UNROLLED = 6  # taps of the second pass; crops of 8 to 100 % of 496x768 at 224 need 2 to 8
F32, BF16, F16 = 0, 1, 2
RED, GREEN, BLUE = (np.float32(share) for share in GRAY)


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
    out: torch.Tensor,
    threads: int,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,), (N,3), (N,P) -> fills `out`, (N,K,S,S) stored as (N,S,S,K).

    Checks nothing (`op.sample` does). float64 holds float32 results: the tile is float32.
    """
    if out.dtype == torch.float64:
        single = torch.empty_like(out, dtype=torch.float32)
        fused(
            pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
            out=single, threads=threads,
        )  # fmt: skip
        return out.copy_(single)
    stored = out.permute(0, 2, 3, 1).view(len(start), size * size * channels)
    kind = {torch.float32: F32, torch.bfloat16: BF16, torch.float16: F16}[out.dtype]
    full = stored.numpy() if kind == F32 else np.empty((0, 0), np.float32)
    bits = stored.view(torch.uint16).numpy() if kind != F32 else np.empty((0, 0), np.uint16)
    batch = (pixels.numpy(), start.numpy(), shape.numpy(), params.numpy())
    level = (np.asarray(mean, np.float32), 1 / np.asarray(std, np.float32))

    def work(lo: int, hi: int) -> None:
        _range(*batch, lo, hi, size, channels, *level, kind, full, bits)

    spread(work, len(start), threads)
    return out


@jit
def _range(
    pixels, start, shape, params, begin, end, size, channels, mean, gain, kind, full, bits
):  # fmt: skip
    """Samples begin to end - 1, one after the other, with one set of scratch arrays."""
    tallest, widest = 1, 1
    for n in range(begin, end):
        tallest, widest = max(tallest, shape[n, 0]), max(widest, shape[n, 1])
    rows, columns = table(size, tallest), table(size, widest)
    line = np.zeros((2, (widest + columns[2].shape[1]) * 3), np.float32)
    image = np.empty(size * size * 3, np.float32)
    value = np.empty(size * channels, np.float32)
    # Tiles with a border of zeros ("outside"), one for c = 1, one for c = 3: the border stays.
    padded = np.zeros((2, (size + 2) * (size + 2) * 3), np.float32)
    for n in range(begin, end):
        row, c = params[n], min(shape[n, 2], channels)
        fill(row[TOP], row[HEIGHT], shape[n, 0], row[FLAGS] & UPEND, *rows)
        fill(row[LEFT], row[WIDTH], shape[n, 1], row[FLAGS] & MIRROR, *columns)
        if row[FLAGS] & AFFINE:
            tile, pitch = padded[c >> 1], (size + 2) * c
            resize(pixels, start[n], shape[n], c, rows, columns, line, tile[pitch + c :], pitch)
            turn(tile, row, size, c, image)
        else:
            resize(pixels, start[n], shape[n], c, rows, columns, line, image, size * c)
        if row[FLAGS] & COLOUR:
            colour(image[: size * size * c], row, c)
        for y in range(size):
            read = image[y * size * c : (y + 1) * size * c]
            write = slice(y * size * channels, (y + 1) * size * channels)
            if kind == F32:
                normalise(read, c, mean, gain, full[n, write])
            else:
                normalise(read, c, mean, gain, value)
                pack(value, kind, bits[n, write])


@jit
def table(size, side):
    """Room for the taps of one axis: first pixel (S,), how many (S,), weights (S,T)."""
    most = max(UNROLLED, 2 * max(1, -(-side // size)) + 2)
    weight = np.zeros((size, most), np.float32)
    return np.zeros(size, np.uint64), np.zeros(size, np.uint64), weight


@jit
def fill(first_q, length_q, source, flip, lo, count, weight):
    """`reference.taps` and `filters` for one axis, in output order: a flip costs nothing."""
    size, length = len(lo), np.int64(length_q)
    support = max(ONE, int((2 * length + size) // (2 * size)))
    slope = 1.0 / support
    begin = max(0, first_q >> Q)
    end = min(source, (first_q + length + ONE - 1) >> Q)
    for o in range(size):
        centre = first_q + ((2 * o + 1) * length + size) // (2 * size)
        low = max(begin, min((centre - support + HALF) >> Q, end - 1))
        high = max(low + 1, min((centre + support + HALF) >> Q, end))
        place = size - 1 - o if flip else o
        lo[place], count[place] = low, high - low
        share, total = weight[place], 0.0
        first = low * ONE + HALF - centre
        for t in range(high - low):
            near = max(0.0, 1 - abs(first + t * ONE) * slope)
            share[t] = near
            total += near
        share[high - low :] = 0
        total = 1 / total
        for t in range(high - low):
            share[t] *= total


@jit
def resize(pixels, first, shape, c, rows, columns, lines, tile, pitch):
    """The two passes of the triangle filter: raw pixels -> rows of the tile, `pitch` apart."""
    size, depth = len(rows[0]), np.int64(shape[2])
    stride = np.int64(shape[1]) * depth
    left, right = np.int64(columns[0][0]), np.int64(columns[0][-1])
    last = max(left + np.int64(columns[1][0]), right + np.int64(columns[1][-1]))
    left = min(left, right)
    width = (last - left) * depth
    unit = np.float32(1 / 255) if pixels.itemsize == 1 else np.float32(1 / 65535)
    most = np.int64(columns[1].max())
    for y in range(size):
        line = lines[0]
        at = first + np.int64(rows[0][y]) * stride + left * depth
        blend(pixels, at, stride, np.int64(rows[1][y]), rows[2][y], unit, line[:width])
        if depth > c:
            gray(line, lines[1][: last - left])
            line = lines[1]
        out = tile[y * pitch : y * pitch + size * c]
        if c == 1:
            gather(line, np.uint64(left), columns[0], most, columns[2], out)
        else:
            gather_rgb(line, np.uint64(left), columns[0], columns[1], columns[2], out)


@jit
def blend(pixels, at, stride, count, weight, unit, line):
    """First pass, one output row: weighted source rows, two at a time -> (width,) in [0, 1]."""
    width = len(line)
    w = unit * weight[0]
    a = pixels[at : at + width]
    if count & 1:
        for i in range(width):
            line[i] = w * np.float32(a[i])
    else:
        v, b = unit * weight[1], pixels[at + stride : at + stride + width]
        for i in range(width):
            line[i] = w * np.float32(a[i]) + v * np.float32(b[i])
    for t in range(2 - (count & 1), count, 2):
        at_t = at + t * stride
        w, v = unit * weight[t], unit * weight[t + 1]
        a, b = pixels[at_t : at_t + width], pixels[at_t + stride : at_t + stride + width]
        for i in range(width):
            line[i] += w * np.float32(a[i]) + v * np.float32(b[i])


@jit
def gray(rgb, out):
    """(3 * width,) -> (width,)."""
    for i in range(len(out)):
        out[i] = RED * rgb[3 * i] + GREEN * rgb[3 * i + 1] + BLUE * rgb[3 * i + 2]


@jit
def gather(line, left, lo, most, weight, out):
    """Second pass, one gray row. `most` taps at most; the spare ones up to UNROLLED weigh 0.

    Loops of a known length: 62 against 83 us per image for 3 taps, 85 against 111 for 6.
    """
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    four, five = np.uint64(4), np.uint64(5)
    if most <= 4:
        for x in range(len(out)):
            w, i = weight[x], lo[x] - left
            near = w[0] * line[i] + w[1] * line[i + one]
            out[x] = near + (w[2] * line[i + two] + w[3] * line[i + three])
        return
    for x in range(len(out)):
        w, i = weight[x], lo[x] - left
        near = w[0] * line[i] + w[1] * line[i + one]
        middle = w[2] * line[i + two] + w[3] * line[i + three]
        total = near + middle + (w[4] * line[i + four] + w[5] * line[i + five])
        for t in range(UNROLLED, most):
            total += w[t] * line[i + np.uint64(t)]
        out[x] = total


@jit
def gather_rgb(line, left, lo, count, weight, out):
    """Second pass, one row of three interleaved channels."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for x in range(len(lo)):
        w = weight[x]
        i = (lo[x] - left) * three
        red, green, blue = np.float32(0), np.float32(0), np.float32(0)
        for t in range(count[x]):
            red += w[t] * line[i]
            green += w[t] * line[i + one]
            blue += w[t] * line[i + two]
            i += three
        out[3 * x], out[3 * x + 1], out[3 * x + 2] = red, green, blue


@jit
def turn(tile, row, size, c, image):
    """Read the bordered tile at affine positions, bilinearly -> (S * S * c,). Outside is 0.

    Addresses and shares are computed for a row at a time, all SIMD; then come the loads, which
    cannot be. A pixel that is outside reads the corner of the border with share 0.
    """
    place = np.empty(size, np.uint64)
    right, down = np.empty(size, np.float32), np.empty(size, np.float32)
    pitch, unit = (size + 2) * np.int64(c), np.float32(1 / ONE)
    xx, yx = np.int64(row[XX]), np.int64(row[YX])
    for y in range(size):
        u0, v0 = np.int64(row[XY]) * y + row[X0], np.int64(row[YY]) * y + row[Y0]
        for x in range(size):
            u, v = xx * x + u0, yx * x + v0
            j, i = (u >> Q) + 1, (v >> Q) + 1
            inside = (j >= 0) & (j <= size) & (i >= 0) & (i <= size)
            place[x] = i * pitch + j * c if inside else 0
            right[x] = np.float32(u & (ONE - 1)) * unit if inside else np.float32(0)
            down[x] = np.float32(v & (ONE - 1)) * unit if inside else np.float32(0)
        out = image[y * size * c : (y + 1) * size * c]
        for channel in range(c):
            pick(tile[channel:], place, right, down, np.uint64(c), np.uint64(pitch), out[channel:])


@jit
def pick(tile, place, right, down, c, pitch, out):
    """One channel of one row: four neighbours each, mixed by their shares."""
    for x in range(len(place)):
        at = place[x]
        above = tile[at] + right[x] * (tile[at + c] - tile[at])
        at += pitch
        below = tile[at] + right[x] * (tile[at + c] - tile[at])
        out[np.uint64(x) * c] = above + down[x] * (below - above)


@jit
def colour(image, row, c):
    """Brightness, contrast, saturation of a tile of c channels, in place."""
    zero, one, unit = np.float32(0), np.float32(1), np.float32(1 / ONE)
    brightness, contrast = np.float32(row[BRIGHTNESS]) * unit, np.float32(row[CONTRAST]) * unit
    for i in range(len(image)):
        image[i] = min(max(image[i] * brightness, zero), one)
    shift = np.float32((one - contrast) * mean_gray(image, c))
    for i in range(len(image)):
        image[i] = min(max(image[i] * contrast + shift, zero), one)
    if c == 1:
        return
    keep = np.float32(row[SATURATION]) * unit
    for i in range(len(image) // 3):
        red, green, blue = image[3 * i], image[3 * i + 1], image[3 * i + 2]
        luma = (RED * red + GREEN * green + BLUE * blue) * (one - keep)
        image[3 * i] = min(max(red * keep + luma, zero), one)
        image[3 * i + 1] = min(max(green * keep + luma, zero), one)
        image[3 * i + 2] = min(max(blue * keep + luma, zero), one)


@jit
def mean_gray(image, c):
    """Mean brightness of a tile, summed in float64: 50,176 float32 addends lose 3 digits."""
    total = 0.0
    if c == 1:
        for i in range(len(image)):
            total += np.float64(image[i])
        return total / len(image)
    for i in range(len(image) // 3):
        total += np.float64(RED * image[3 * i] + GREEN * image[3 * i + 1] + BLUE * image[3 * i + 2])
    return total / (len(image) // 3)


@jit
def normalise(image, c, mean, gain, out):
    """One row: (S * c,) -> (S * K,), (value - mean) * gain; gray is repeated."""
    if len(mean) == 1:
        m, g = mean[0], gain[0]
        for i in range(len(out)):
            out[i] = (image[i] - m) * g
        return
    r, g, b = mean[0], mean[1], mean[2]
    gain_r, gain_g, gain_b = gain[0], gain[1], gain[2]
    if c == 1:
        for i in range(len(image)):
            out[3 * i] = (image[i] - r) * gain_r
            out[3 * i + 1] = (image[i] - g) * gain_g
            out[3 * i + 2] = (image[i] - b) * gain_b
        return
    for i in range(len(image) // 3):
        out[3 * i] = (image[3 * i] - r) * gain_r
        out[3 * i + 1] = (image[3 * i + 1] - g) * gain_g
        out[3 * i + 2] = (image[3 * i + 2] - b) * gain_b


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
