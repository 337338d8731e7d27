"""What happens to light on a card once it is at its place: stain, tone, gamma, noise.

Legend: BY x BX output pixels a program; `row` points to a row of parameters.
"""

# ruff: noqa: SIM102 - the outer `if` is decided when compiling, the inner one is a branch
from __future__ import annotations

from ..op import constants, triton_jit
from . import columns

try:
    import triton.language as tl
except ImportError:  # the file can be imported; `triton.on_card` says what is missing
    tl = None  # type: ignore[assignment, unused-ignore]

FLAGS, BRIGHTNESS, CONTRAST, SATURATION, GAMMA, NOISE = constants(
    columns, "FLAGS BRIGHTNESS CONTRAST SATURATION GAMMA NOISE"
)
KEY0, KEY1, STAIN, STAIN_SHIFT, STAINED = constants(columns, "KEY0 KEY1 STAIN STAIN_SHIFT STAINED")
DARKEST, NOISE_MEAN, NOISE_SD, ONE = constants(columns, "DARKEST NOISE_MEAN NOISE_SD ONE")


@triton_jit
def factor(row, COLUMN: tl.constexpr):
    """A column of Q16 as a number: exact up to 256."""
    return tl.load(row + COLUMN).to(tl.float32) * (1 / 65536)


@triton_jit
def clamp(light):
    """To [0, 1]."""
    return tl.minimum(tl.maximum(light, 0.0), 1.0)


@triton_jit
def luma(red, green, blue, colours):
    """The gray of a pixel: itself where the source has one channel."""
    gray = red
    if colours:
        gray = 0.2989 * red + 0.587 * green + 0.114 * blue
    return gray


@triton_jit
def density(light):
    """Optical density: -ln of light."""
    return -tl.log(tl.maximum(light, DARKEST))


@triton_jit
def mixed(row, red, green, blue, LINE: tl.constexpr):
    """One line of the stain matrix and its shift, back to light."""
    a, b = factor(row, STAIN + 3 * LINE), factor(row, STAIN + 3 * LINE + 1)
    c, shift = factor(row, STAIN + 3 * LINE + 2), factor(row, STAIN_SHIFT + LINE)
    return tl.minimum(tl.exp(-(a * red + b * green + c * blue + shift)), 1.0)


@triton_jit
def stain(row, red, green, blue, colours):
    """`reference.stain` of rows with STAINED and three channels."""
    if colours:
        if (tl.load(row + FLAGS) & STAINED) != 0:
            r, g, b = density(red), density(green), density(blue)
            red, green = mixed(row, r, g, b, 0), mixed(row, r, g, b, 1)
            blue = mixed(row, r, g, b, 2)
    return red, green, blue


@triton_jit
def brighten(row, red, green, blue):
    """The first clamp of COLOUR: light times brightness."""
    by = factor(row, BRIGHTNESS)
    return clamp(red * by), clamp(green * by), clamp(blue * by)


@triton_jit
def pivot(row, middle, red, green, blue):
    """Contrast around the mean gray."""
    by = factor(row, CONTRAST)
    shift = middle * (1 - by)
    return clamp(red * by + shift), clamp(green * by + shift), clamp(blue * by + shift)


@triton_jit
def saturate(row, red, green, blue, colours):
    """Saturation: away from the pixel's own gray."""
    if colours:
        by = factor(row, SATURATION)
        shift = luma(red, green, blue, colours) * (1 - by)
        red, green = clamp(red * by + shift), clamp(green * by + shift)
        blue = clamp(blue * by + shift)
    return red, green, blue


@triton_jit
def power(light, by):
    """light ** by for light of 0 and more."""
    return tl.exp2(by * tl.log2(light))


@triton_jit
def gamma(row, red, green, blue, colours):
    """light ** GAMMA."""
    if tl.load(row + GAMMA) != ONE:
        by = factor(row, GAMMA)
        red = power(red, by)
        if colours:
            green, blue = power(green, by), power(blue, by)
        else:
            green, blue = red, red
    return red, green, blue


@triton_jit
def grains(row, number):
    """The noise integers of values `number` (BY,BX): four bytes of one Philox word, less 510."""
    low = tl.load(row + KEY0).to(tl.int64) & 0xFFFFFFFF
    seed = (tl.load(row + KEY1).to(tl.int64) << 32) | low
    block, lane = (number >> 2).to(tl.uint32), number & 3
    none = block * 0  # a Python 0 would be an int32 scalar: the counters must be of one type
    a, b, c, d = tl.philox(seed, block, none, none, none)
    word = tl.where(lane < 2, tl.where(lane == 0, a, b), tl.where(lane == 2, c, d))
    total = (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255) + (word >> 24)
    return total.to(tl.int32) - NOISE_MEAN


@triton_jit
def noise(row, red, green, blue, y, x, colours, S: tl.constexpr):
    """Plus nearly normal noise, clamped."""
    by = factor(row, NOISE) * (1 / NOISE_SD)
    if by != 0:
        pixel = y[:, None] * S + x[None, :]
        first = pixel * 3 if colours else pixel
        red = clamp(red + by * grains(row, first).to(tl.float32))
        if colours:
            green = clamp(green + by * grains(row, first + 1).to(tl.float32))
            blue = clamp(blue + by * grains(row, first + 2).to(tl.float32))
        else:
            green, blue = red, red
    return red, green, blue
