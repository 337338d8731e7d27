"""Steps 4 to 6 on a CPU: stain, colour, gamma and noise, in place on planes of light.

Legend: c planes of n pixels each, (c * n,) float32 in [0, 1].

A step whose factor is exactly one is left out (only rounding could tell), and brightness and
contrast are left to `store` where nothing comes after them. Logarithm and power are
written out (Cephes' polynomials, within 2 units in the last place): calls of the C library do not
vectorise: 161 us against 41 for the gamma of 50,176 pixels.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import (
    BRIGHTNESS,
    COLOUR,
    CONTRAST,
    DARKEST,
    FLAGS,
    GAMMA,
    KEY0,
    KEY1,
    NOISE,
    NOISE_MEAN,
    NOISE_SD,
    ONE,
    SATURATION,
    STAIN,
    STAIN_SHIFT,
    STAINED,
)
from .lanes import bare
from .resize import BLUE, GREEN, RED

F = np.float32
UNIT = F(1 / ONE)
TINY, ROOT_HALF = F(1.17549435e-38), F(0.707106781)
LN2_HIGH, LN2_LOW, LOG2_E = F(0.693359375), F(-2.12194440e-4), F(1.44269504)
L0, L1, L2 = F(7.0376836292e-2), F(-1.1514610310e-1), F(1.1676998740e-1)
L3, L4, L5 = F(-1.2420140846e-1), F(1.4249322787e-1), F(-1.6668057665e-1)
L6, L7, L8 = F(2.0000714765e-1), F(-2.4999993993e-1), F(3.3333331174e-1)
E0, E1, E2 = F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3)
E3, E4, E5 = F(4.1665795894e-2), F(1.6666665459e-1), F(5.0000001201e-1)
ZERO, HALF, WHOLE = F(0), F(0.5), F(1)


@jit
def tone(image, row, c, region, size, scratch):
    """All steps that a row asks for. `region` (top, left, B, D) is what the planes show.

    Returns a colour (`curve`) that is still to be given to each value: if it comes last, the pass
    that stores the values does that too. Otherwise one that changes nothing.
    """
    n, late = region[2] * region[3], (WHOLE, WHOLE, ZERO)
    light = image[: c * n]
    if row[FLAGS] & STAINED and c == 3:
        stain(light[:n], light[n : 2 * n], light[2 * n :], row)
    if row[FLAGS] & COLOUR:
        late = curve(light, n, row)
        saturates = c == 3 and row[SATURATION] != ONE
        if saturates or row[GAMMA] != ONE or row[NOISE]:
            shade(light, late)
            late = (WHOLE, WHOLE, ZERO)
        if saturates:
            saturate(light[:n], light[n : 2 * n], light[2 * n :], F(row[SATURATION]) * UNIT)
    if row[GAMMA] != ONE:
        power(light, F(row[GAMMA]) * UNIT)
    if row[NOISE]:
        for y in range(region[2]):
            first = ((region[0] + y) * size + region[1]) * c
            normal(row, first, region[3] * c, scratch)
            for channel in range(c):
                begin = channel * n + y * region[3]
                add(light[begin : begin + region[3]], scratch[first % 4 + channel :], c, row[NOISE])
    return late


@jit
def curve(image, n, row):
    """Brightness, contrast and what contrast adds: light -> clamp(clamp(light * b) * c + a)."""
    brightness, contrast = F(row[BRIGHTNESS]) * UNIT, F(row[CONTRAST]) * UNIT
    if row[CONTRAST] == ONE:
        return brightness, contrast, ZERO
    more = F((WHOLE - contrast) * mean_gray(image, n, brightness))
    return brightness, contrast, more


@jit
def shade(image, curve):
    """Give every value a colour."""
    brightness, contrast, more = curve
    for i in range(len(image)):
        light = min(max(image[i] * brightness, ZERO), WHOLE)
        image[i] = min(max(light * contrast + more, ZERO), WHOLE)


@jit
def saturate(red, green, blue, keep):
    """Mix each pixel with its own gray."""
    for i in range(len(red)):
        r, g, b = red[i], green[i], blue[i]
        luma = (RED * r + GREEN * g + BLUE * b) * (WHOLE - keep)
        red[i] = min(max(r * keep + luma, ZERO), WHOLE)
        green[i] = min(max(g * keep + luma, ZERO), WHOLE)
        blue[i] = min(max(b * keep + luma, ZERO), WHOLE)


@jit
def mean_gray(image, n, brightness):
    """Mean gray of the planes, made so much brighter."""
    light = bare(image)
    if len(image) == n:
        return total(light, 0, n, brightness) / n
    red, green = total(light, 0, n, brightness), total(light, n, 2 * n, brightness)
    blue = total(light, 2 * n, 3 * n, brightness)
    return (RED * red + GREEN * green + BLUE * blue) / n


@jit
def total(light, begin, end, brightness):
    """Their sum, in float64 over pieces of 512: 50,176 float32 addends lose 3 digits."""
    found = 0.0
    for piece in range(begin, end, 512):
        near = ZERO
        for i in range(piece, min(piece + 512, end)):
            near += min(max(light[i] * brightness, ZERO), WHOLE)
        found += np.float64(near)
    return found


@jit
def stain(red, green, blue, row):
    """Optical density through the row's matrix and shift, back to light, at most 1."""
    m = np.empty(12, np.float32)
    for k in range(9):
        m[k] = F(row[STAIN + k]) * UNIT
    for k in range(3):
        m[9 + k] = F(row[STAIN_SHIFT + k]) * UNIT
    m0, m1, m2, m3, m4, m5 = m[0], m[1], m[2], m[3], m[4], m[5]
    m6, m7, m8, s0, s1, s2 = m[6], m[7], m[8], m[9], m[10], m[11]
    dark = F(DARKEST)
    for i in range(len(red)):
        r, g, b = (
            logarithm(max(red[i], dark)), logarithm(max(green[i], dark)),
            logarithm(max(blue[i], dark)),
        )  # fmt: skip
        red[i] = min(exponential(m0 * r + m1 * g + m2 * b - s0), WHOLE)
        green[i] = min(exponential(m3 * r + m4 * g + m5 * b - s1), WHOLE)
        blue[i] = min(exponential(m6 * r + m7 * g + m8 * b - s2), WHOLE)


@jit
def power(image, exponent):
    """Light to a power; black stays black."""
    for i in range(len(image)):
        light = image[i]
        raised = exponential(exponent * logarithm(max(light, TINY)))
        image[i] = raised if light > ZERO else ZERO


def _logarithm(x):
    bits = np.float32(x).view(np.int32)
    exponent = F((bits >> np.int32(23)) - np.int32(126))
    m = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)).view(np.float32)
    small = m < ROOT_HALF
    exponent = exponent - WHOLE if small else exponent
    m = m + m - WHOLE if small else m - WHOLE
    z = m * m
    near = ((((L0 * m + L1) * m + L2) * m + L3) * m + L4) * m + L5
    near = ((near * m + L6) * m + L7) * m + L8
    near = near * m * z + LN2_LOW * exponent - HALF * z
    return m + near + LN2_HIGH * exponent


def _exponential(x):
    x = min(max(x, F(-87)), F(88))
    n = np.floor(x * LOG2_E + HALF)
    x = (x - n * LN2_HIGH) - n * LN2_LOW
    near = ((((E0 * x + E1) * x + E2) * x + E3) * x + E4) * x + E5
    near = near * x * x + x + WHOLE
    return near * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


# Exact: reordered sums would lose the two halves of ln 2.
logarithm = jit(_logarithm, exact=True)
exponential = jit(_exponential, exact=True)


@jit
def add(light, noise, step, deviation):
    """Clamp light + deviation * noise to [0, 1]; a channel's noise is every `step`-th number."""
    share = F(deviation) * UNIT
    for x in range(len(light)):
        light[x] = min(max(light[x] + share * noise[x * step], ZERO), WHOLE)


@jit
def normal(row, first, count, out):
    """`reference.noise`, numbers first - first % 4 to first + count - 1 -> out."""
    k0, k1 = np.uint64(row[KEY0] & 0xFFFFFFFF), np.uint64(row[KEY1] & 0xFFFFFFFF)
    block, blocks = np.int64(first) // 4, (first % 4 + count + 3) // 4
    unit = F(1 / NOISE_SD)
    for b in range(blocks):
        c0, c1, c2, c3 = np.uint64(block + b), np.uint64(0), np.uint64(0), np.uint64(0)
        for turn in range(10):
            even, odd = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            t0 = (k0 + np.uint64(turn) * np.uint64(0x9E3779B9)) & np.uint64(0xFFFFFFFF)
            t1 = (k1 + np.uint64(turn) * np.uint64(0xBB67AE85)) & np.uint64(0xFFFFFFFF)
            c0, c2 = (odd >> np.uint64(32)) ^ c1 ^ t0, (even >> np.uint64(32)) ^ c3 ^ t1
            c1, c3 = odd & np.uint64(0xFFFFFFFF), even & np.uint64(0xFFFFFFFF)
        out[4 * b] = spread_of(c0) * unit
        out[4 * b + 1] = spread_of(c1) * unit
        out[4 * b + 2] = spread_of(c2) * unit
        out[4 * b + 3] = spread_of(c3) * unit


@jit
def spread_of(word):
    """The four bytes of a word, summed, less their mean."""
    byte = np.uint64(255)
    low = (word & byte) + ((word >> np.uint64(8)) & byte)
    high = ((word >> np.uint64(16)) & byte) + (word >> np.uint64(24))
    return F(np.int32(low + high) - np.int32(NOISE_MEAN))
