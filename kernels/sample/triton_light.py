"""Where light comes from on a card: the triangle filter on raw pixels, or a turned look at a tile.

Legend: BY x BX output pixels a program, S side of the output; `row` points to a row of parameters.

All geometry is integer. Taps depend on the image and on the output's row or column alone, so the
loops have one length in a program and no divergence. Weights are whole numbers too: the half-width
less the distance, divided by their sum at the end.
"""

# ruff: noqa: SIM102 - the outer `if` is decided when compiling, the inner one is a branch
from __future__ import annotations

from ..op import constants, triton_jit
from . import columns, steps

try:
    import triton.language as tl
except ImportError:  # the file can be imported; `triton.on_card` says what is missing
    tl = None  # type: ignore[assignment, unused-ignore]

TOP, LEFT, HEIGHT, WIDTH, FLAGS, BLUR, FILL, BEND = constants(
    columns, "TOP LEFT HEIGHT WIDTH FLAGS BLUR FILL BEND"
)
BOX_TOP, BOX_LEFT, BOX_HEIGHT, BOX_WIDTH = constants(
    columns, "BOX_TOP BOX_LEFT BOX_HEIGHT BOX_WIDTH"
)
XX, XY, X0, YX, YY, Y0 = constants(columns, "XX XY X0 YX YY Y0")
AFFINE, BENT, EDGE, REFLECT, MIRROR, UPEND = constants(
    columns, "AFFINE BENT EDGE REFLECT MIRROR UPEND"
)
ONE, Q, CELLS, POINTS = constants(columns, "ONE Q CELLS POINTS")
RGB, GRAY, BENDS, BOXES = constants(steps, "RGB GRAY BEND BOX")


@triton_jit
def divide(n, d):
    """n // d of whole numbers, n < 2^30 and n / d < 2^16: 7 instructions, `//` takes 25.

    The quotient of floats is off by less than 2^-6, so one correction either way makes it exact.
    """
    near = (n.to(tl.float32) * (1.0 / d.to(tl.float32))).to(tl.int32)
    rest = n - near * d
    return near + (rest >= d).to(tl.int32) - (rest < 0).to(tl.int32)


@triton_jit
def reach(first, length, source, box, blur, o):
    """`reference.taps` of output rows or columns o -> centre, lo, hi (all int32), support, taps.

    32 bits suffice for all but the support: the whole part of length / (2 box) goes first, and
    pixels are counted from the pixel that holds the centre.
    """
    whole = length // (2 * box)
    rest = length - whole * (2 * box)
    centre = first + (2 * o + 1) * whole + divide((2 * o + 1) * rest + box, 2 * box)
    step = 2 * whole + (2 * rest + box) // (2 * box)
    support = tl.maximum(step, ONE).to(tl.int64) + ((blur.to(tl.int64) * step) >> Q)
    begin = first >> Q
    last = tl.minimum(source, ((first.to(tl.int64) + length + (ONE - 1)) >> Q).to(tl.int32))
    taps = tl.minimum((2 * support + (ONE - 1)) >> Q, last - begin).to(tl.int32)
    held = tl.minimum(support, 0x7FFFFFFF).to(tl.int32)  # beyond it all of the window is reached
    pixel, share = centre >> Q, (centre & (ONE - 1)) + ONE // 2
    near = pixel + ((share - held) >> Q)
    far = pixel + ((share.to(tl.uint32) + held.to(tl.uint32)) >> Q).to(tl.int32)
    lo = tl.minimum(tl.maximum(near, begin), last - 1)
    hi = tl.minimum(tl.maximum(far, lo + 1), last)
    return centre, lo, hi, support.to(tl.float32), taps


@triton_jit
def axis(
    row, source, o, FIRST: tl.constexpr, LENGTH: tl.constexpr, BOX: tl.constexpr, FLIP: tl.constexpr
):  # fmt: skip
    """`reach` of the rows or columns o of a tile that may be turned over."""
    box = tl.load(row + BOX)
    o = tl.where((tl.load(row + FLAGS) & FLIP) != 0, box - 1 - o, o)
    first, length = tl.load(row + FIRST), tl.load(row + LENGTH)
    return reach(first, length, source, box, tl.load(row + BLUR), o)


@triton_jit
def weigh(i, hi, centre, support):
    """Weight of pixel i: exact up to a half-width of 256 pixels, then to 2^-24 of the peak."""
    distance = tl.abs((i * ONE + (ONE // 2) - centre).to(tl.float32))
    return tl.where(i < hi, tl.maximum(support - distance, 0.0), 0.0)


@triton_jit
def total(centre, lo, hi, support, taps, B: tl.constexpr):
    """The sum of the weights of B rows or columns."""
    found = tl.zeros([B], tl.float32)
    for first in range(0, taps, 16):  # as `filtered`
        run = tl.zeros([B], tl.float32)
        for t in range(first, tl.minimum(first + 16, taps)):
            run += weigh(lo + t, hi, centre, support)
        found += run
    return found


@triton_jit
def tone(level, curve, CURVED: tl.constexpr):
    """Light of raw levels, by the table if there is one; else the level itself."""
    if CURVED:
        return tl.load(curve + level.to(tl.int32))
    else:
        return level.to(tl.int32).to(tl.float32)


@triton_jit
def coloured(depth, K: tl.constexpr, STEPS: tl.constexpr):
    """Whether three channels are kept (K = 3); no question where all sources are of one kind."""
    if (K == 1) | ((STEPS & RGB) == 0):
        return False
    elif (STEPS & GRAY) == 0:
        return True
    else:
        return depth == 3


@triton_jit
def filtered(
    pixels, curve, shape, row, y, x, BY: tl.constexpr, BX: tl.constexpr,
    CURVED: tl.constexpr, K: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Pixels (y, x) of the tile, from the image at `pixels` -> red, green, blue (BY,BX).

    y and x lie inside the tile. Without a curve the scale is that of the raw levels.
    """
    height, width, depth = tl.load(shape), tl.load(shape + 1), tl.load(shape + 2)
    cy, ly, hy, sy, ny = axis(row, height, y, TOP, HEIGHT, BOX_HEIGHT, UPEND)
    cx, lx, hx, sx, nx = axis(row, width, x, LEFT, WIDTH, BOX_WIDTH, MIRROR)
    total_y, total_x = total(cy, ly, hy, sy, ny, BY), total(cx, lx, hx, sx, nx, BX)
    red = tl.zeros([BY, BX], tl.float32)
    green, blue = red, red
    colours = coloured(depth, 3, STEPS)
    for t in range(ny):
        share = weigh(ly + t, hy, cy, sy)
        i = tl.minimum(ly + t, height - 1).to(tl.uint32).to(tl.uint64)
        line = pixels + (i * (width * depth).to(tl.uint32).to(tl.uint64))[:, None]
        for first in range(0, nx, 16):  # in runs: the error of a long float32 sum grows with it
            r = tl.zeros([BY, BX], tl.float32)
            g, b = r, r
            for s in range(first, tl.minimum(first + 16, nx)):
                near = weigh(lx + s, hx, cx, sx)[None, :]
                at = line + (tl.minimum(lx + s, width - 1) * depth)[None, :]
                r += near * tone(tl.load(at), curve, CURVED)
                if colours:
                    g += near * tone(tl.load(at + 1), curve, CURVED)
                    b += near * tone(tl.load(at + 2), curve, CURVED)
            red += share[:, None] * r
            green += share[:, None] * g
            blue += share[:, None] * b
    gain = 1.0 / (total_y[:, None] * total_x[None, :])
    red, green, blue = red * gain, green * gain, blue * gain
    if colours:
        if K == 1:
            red = 0.2989 * red + 0.587 * green + 0.114 * blue
    else:
        green, blue = red, red
    return red, green, blue


@triton_jit
def mirrored(i, length):
    """... 1 0 | 0 1 ... length-1 | length-1 ...: the edge pixel is doubled."""
    turn = i % (2 * length)
    turn = tl.where(turn < 0, turn + 2 * length, turn)  # C's remainder has the sign of i
    return tl.minimum(turn, 2 * length - 1 - turn)


@triton_jit
def bordered(i, length, flags):
    """Index of a tile of this length for any i, and whether i lies on it or the border has it."""
    inside = ((i >= 0) & (i < length)) | ((flags & (EDGE | REFLECT)) != 0)
    held = tl.minimum(tl.maximum(i, 0), length - 1)
    folded = (flags & (EDGE | REFLECT)) == REFLECT  # the edge wins, as in the reference
    return tl.where(folded, mirrored(i, length), held), inside


@triton_jit
def placed(
    pixels, curve, shape, row, y, x, unit, BY: tl.constexpr, BX: tl.constexpr,
    CURVED: tl.constexpr, K: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Output pixels (y, x) of rows that do not turn: the tile in its box, its border around it."""
    if STEPS & BOXES:
        flags, fill = tl.load(row + FLAGS), tl.load(row + FILL).to(tl.float32) * (1 / 65536)
        i, above = bordered(y - tl.load(row + BOX_TOP), tl.load(row + BOX_HEIGHT), flags)
        j, beside = bordered(x - tl.load(row + BOX_LEFT), tl.load(row + BOX_WIDTH), flags)
        red, green, blue = filtered(pixels, curve, shape, row, i, j, BY, BX, CURVED, K, STEPS)
        inside = above[:, None] & beside[None, :]
        red = tl.where(inside, red * unit, fill)
        return red, tl.where(inside, green * unit, fill), tl.where(inside, blue * unit, fill)
    else:
        i = tl.minimum(y, tl.load(row + BOX_HEIGHT) - 1)  # blocks may overhang the output
        j = tl.minimum(x, tl.load(row + BOX_WIDTH) - 1)
        red, green, blue = filtered(pixels, curve, shape, row, i, j, BY, BX, CURVED, K, STEPS)
        return red * unit, green * unit, blue * unit


@triton_jit
def spline(o, S: tl.constexpr):
    """`reference.splines`: first control point and the four weights, Q16, of rows or columns o."""
    place = (2 * o.to(tl.int64) + 1) * (CELLS * ONE) // (2 * S)
    t = (place & (ONE - 1)) >> 6
    s = 1024 - t
    second = 3 * t * t * t - 6 * 1024 * t * t + (4 << 30)
    third = 3 * s * s * s - 6 * 1024 * s * s + (4 << 30)
    return place >> Q, sixth(s * s * s), sixth(second), sixth(third), sixth(t * t * t)


@triton_jit
def sixth(cube):
    """A cube of 1/1024 to Q16 sixths, as the reference rounds it."""
    return ((cube >> 14) * 10923) >> 16


@triton_jit
def column(points, at, a, b, c, d):
    """One column of four control points, mixed: x and y in 1/256 pixel, int64."""
    p, q = tl.load(points + at), tl.load(points + at + POINTS)
    r, s = tl.load(points + at + 2 * POINTS), tl.load(points + at + 3 * POINTS)
    right = a * low(p) + b * low(q) + c * low(r) + d * low(s)
    down = a * (p >> 16) + b * (q >> 16) + c * (r >> 16) + d * (s >> 16)
    return right >> 8, down >> 8


@triton_jit
def low(point):
    """The signed low half of a packed control point."""
    return (point << 16) >> 16


@triton_jit
def displaced(row, y, x, S: tl.constexpr):
    """`reference.displacement` -> (BY,BX) x and y, Q16 in int64."""
    cell_y, a, b, c, d = spline(y, S)
    cell_x, e, f, g, h = spline(x, S)
    at = (cell_y * POINTS)[:, None] + cell_x[None, :]
    a, b, c, d = a[:, None], b[:, None], c[:, None], d[:, None]
    points = row + BEND
    right_0, down_0 = column(points, at, a, b, c, d)
    right_1, down_1 = column(points, at + 1, a, b, c, d)
    right_2, down_2 = column(points, at + 2, a, b, c, d)
    right_3, down_3 = column(points, at + 3, a, b, c, d)
    e, f, g, h = e[None, :], f[None, :], g[None, :], h[None, :]
    right = right_0 * e + right_1 * f + right_2 * g + right_3 * h
    down = down_0 * e + down_1 * f + down_2 * g + down_3 * h
    return right >> Q, down >> Q


@triton_jit
def positions(row, y, x, S: tl.constexpr, STEPS: tl.constexpr):
    """`reference.positions` -> (BY,BX) u and v, Q16 in int64."""
    flags = tl.load(row + FLAGS)
    line, across = y.to(tl.int64)[:, None], x.to(tl.int64)[None, :]
    affine = (flags & AFFINE) != 0
    u = tl.load(row + XX) * across + tl.load(row + XY) * line + tl.load(row + X0)
    v = tl.load(row + YX) * across + tl.load(row + YY) * line + tl.load(row + Y0)
    u, v = tl.where(affine, u, across * ONE), tl.where(affine, v, line * ONE)
    if STEPS & BENDS:
        if (flags & BENT) != 0:
            right, down = displaced(row, tl.minimum(y, S - 1), tl.minimum(x, S - 1), S)
            u, v = u + right, v + down
    return u, v


@triton_jit
def tap(tile, row, i, j, wide, S: tl.constexpr):
    """Pixels (i, j) of a plane of S x S that holds the tile; FILL beyond it."""
    flags, fill = tl.load(row + FLAGS), tl.load(row + FILL).to(tl.float32) * (1 / 65536)
    i, above = bordered(i, tl.load(row + BOX_HEIGHT), flags)
    j, beside = bordered(j, tl.load(row + BOX_WIDTH), flags)
    # `!= 0`: Triton 3.9 interprets a scalar's comparison as an int32, and refuses it as a mask.
    inside = (above & beside & wide) != 0
    return tl.where(inside, tl.load(tile + i * S + j, mask=inside, other=0.0), fill)


@triton_jit
def turned(tile, row, y, x, colours, S: tl.constexpr, STEPS: tl.constexpr):
    """Output pixels (y, x), bilinearly from one or three planes of a tile -> red, green, blue."""
    u, v = positions(row, y, x, S, STEPS)
    u -= tl.load(row + BOX_LEFT).to(tl.int64) * ONE
    v -= tl.load(row + BOX_TOP).to(tl.int64) * ONE
    right = (u & (ONE - 1)).to(tl.float32) * (1 / 65536)
    down = (v & (ONE - 1)).to(tl.float32) * (1 / 65536)
    j, i = (u >> Q).to(tl.int32), (v >> Q).to(tl.int32)
    wide = (y < S)[:, None] & (x < S)[None, :]
    red = bilinear(tile, row, i, j, right, down, wide, S)
    green, blue = red, red
    if colours:
        green = bilinear(tile + S * S, row, i, j, right, down, wide, S)
        blue = bilinear(tile + 2 * S * S, row, i, j, right, down, wide, S)
    return red, green, blue


@triton_jit
def bilinear(tile, row, i, j, right, down, wide, S: tl.constexpr):
    """Four neighbours by their shares."""
    above = (1 - right) * tap(tile, row, i, j, wide, S) + right * tap(tile, row, i, j + 1, wide, S)
    below = (1 - right) * tap(tile, row, i + 1, j, wide, S)
    below += right * tap(tile, row, i + 1, j + 1, wide, S)
    return (1 - down) * above + down * below
