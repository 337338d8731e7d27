"""Step 3 on a CPU: affine and bend, read bilinearly from a tile with a rim.

Legend: S side of the output, B x D the tile, c its channels (1, or 4 floats a pixel for RGB).

The tile is stored with one pixel of FILL before and two after in each direction. Positions are
brought into reach first: beyond that rim all is FILL, beyond the edge an edge or its mirror image
repeats, so clamping or folding a position is the same as looking up each neighbour, bit for bit
in Q16. No load needs a test.
"""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import (
    AFFINE,
    BEND,
    BENT,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    CELLS,
    EDGE,
    FILL,
    FLAGS,
    ONE,
    POINTS,
    REFLECT,
    X0,
    XX,
    XY,
    Y0,
    YX,
    YY,
    Q,
)
from .lanes import bare, load16, mix16, mix_rgb16, store16
from .resize import LANES

HALF = ONE // 2


@jit
def splines(size):
    """`reference.splines`, control points first: (7,S) int64, Q16."""
    weight = np.zeros((POINTS, size), np.int64)
    for o in range(size):
        place = (2 * o + 1) * CELLS * ONE // (2 * size)
        cell, t = place >> Q, (place & (ONE - 1)) >> 6
        s = 1024 - t
        weight[cell, o] = (s**3 >> 14) * 10923 >> 16
        weight[cell + 1, o] = ((3 * t**3 - 6144 * t**2 + (4 << 30)) >> 14) * 10923 >> 16
        weight[cell + 2, o] = ((3 * s**3 - 6144 * s**2 + (4 << 30)) >> 14) * 10923 >> 16
        weight[cell + 3, o] = (t**3 >> 14) * 10923 >> 16
    return weight


@jit
def positions(row, y, left, spline, size, u, v, n):
    """`reference.positions` of row y, n of them from column `left` on -> u, v int64, Q16."""
    xx, xy, u0 = np.int64(ONE), np.int64(0), np.int64(0)
    yx, yy, v0 = np.int64(0), np.int64(ONE), np.int64(0)
    if row[FLAGS] & AFFINE:
        xx, xy, u0 = np.int64(row[XX]), np.int64(row[XY]), np.int64(row[X0])
        yx, yy, v0 = np.int64(row[YX]), np.int64(row[YY]), np.int64(row[Y0])
    u0 += xy * y + xx * left
    v0 += yy * y + yx * left
    for x in range(n):
        u[x] = xx * x + u0
        v[x] = yx * x + v0
    if row[FLAGS] & BENT:
        bend(row, y, left, spline, size, u, v, n)


@jit
def bend(row, y, left, spline, size, u, v, n):
    """Add the displacement of row y to u and v, as `reference.bent` rounds it."""
    right, down = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for k in range(POINTS):
        point_x, point_y = np.int64(0), np.int64(0)
        for j in range(POINTS):
            packed, share = np.int64(row[BEND + j * POINTS + k]), spline[j * size + y]
            point_x += share * ((packed & 0xFFFF) - ((packed & 0x8000) << 1))
            point_y += share * (packed >> 16)
        point_x, point_y, first = point_x >> 8, point_y >> 8, k * size + left
        for x in range(n):
            right[x] += point_x * spline[first + x]
            down[x] += point_y * spline[first + x]
    for x in range(n):
        u[x] += right[x] >> Q
        v[x] += down[x] >> Q


@jit
def reach(corner, length, flags):
    """What of a position in the output is its place in the tile: less `shift`, and within these."""
    shift, last = np.int64(corner) << Q, np.int64(length - 1) << Q
    if flags & (EDGE | REFLECT):
        return shift, np.int64(0), last
    return shift, np.int64(-ONE), last + ONE


@jit
def fold(place, n, corner, length):
    """Reflect about the tile's outer edges, half a pixel from the first and last centre."""
    shift, period = np.int64(corner) << Q, np.int64(2 * length) << Q
    for x in range(n):
        t = (place[x] - shift + HALF) % period
        place[x] = min(t, period - t) - HALF + shift


@jit
def turn(tile, row, c, region, spline, image):
    """Read the tile at the row's positions -> image, planes of `region` (top, left, B, D)."""
    top, left, height, width = region
    u, v, place = np.empty((3, width + LANES), np.int64)
    shares = np.empty(2 * (width + LANES), np.float32)
    right, down = bare(shares), bare(shares[width + LANES :])
    flags, box_height, box_width = row[FLAGS], row[BOX_HEIGHT], row[BOX_WIDTH]
    step = 4 if c == 3 else 1
    pitch = (np.int64(box_width) + 3) * step
    window = (reach(row[BOX_LEFT], box_width, flags), reach(row[BOX_TOP], box_height, flags))
    for y in range(height):
        positions(bare(row), top + y, left, bare(spline), spline.shape[1], bare(u), bare(v), width)
        if flags & (EDGE | REFLECT) == REFLECT:
            fold(bare(u), width, row[BOX_LEFT], box_width)
            fold(bare(v), width, row[BOX_TOP], box_height)
        look_up(bare(u), bare(v), width, window, step, pitch, bare(place), right, down)
        at = y * width
        if c == 1:
            pick(bare(tile), bare(place), right, down, pitch, bare(image), at, width)
        else:
            plane = height * width
            pick_rgb(bare(tile), bare(place), right, down, pitch, bare(image), at, plane, width)


@jit
def look_up(u, v, n, window, step, pitch, place, right, down):
    """Positions -> index of the upper left neighbour in the tile, shares of the right and lower."""
    (shift_u, low_u, high_u), (shift_v, low_v, high_v) = window
    unit = np.float32(1 / ONE)
    for x in range(n):
        i = min(max(v[x] - shift_v, low_v), high_v)
        j = min(max(u[x] - shift_u, low_u), high_u)
        place[x] = ((i >> Q) + 1) * pitch + ((j >> Q) + 1) * step
        right[x] = np.float32(np.int32(j & (ONE - 1))) * unit
        down[x] = np.float32(np.int32(i & (ONE - 1))) * unit


@jit
def between(tile, i, step, pitch, right, down):
    """One value of a tile between its four neighbours, the first of them tile[i]."""
    above = tile[i] + right * (tile[i + step] - tile[i])
    i += pitch
    below = tile[i] + right * (tile[i + step] - tile[i])
    return above + down * (below - above)


@jit
def pick(tile, place, right, down, pitch, out, at, n):
    """One gray row: four neighbours each, mixed by their shares."""
    whole = n - n % LANES
    for x in range(0, whole, LANES):
        store16(out, at + x, mix16(tile, place, x, pitch, load16(right, x), load16(down, x)))
    for x in range(whole, n):
        out[at + x] = between(tile, place[x], 1, pitch, right[x], down[x])


@jit
def pick_rgb(tile, place, right, down, pitch, out, at, plane, n):
    """One row of four floats a pixel -> three rows, `plane` values apart."""
    whole = n - n % LANES
    for x in range(0, whole, LANES):
        a, b = load16(right, x), load16(down, x)
        mix_rgb16(tile, place, x, pitch, a, b, out, at + x, plane)
    for x in range(whole, n):
        for channel in range(3):
            found = between(tile, place[x] + channel, 4, pitch, right[x], down[x])
            out[at + channel * plane + x] = found


@jit
def rim(tile, row, c):
    """Room for a tile with its rim, all FILL: where the tile begins and its strides."""
    step = np.int64(4 if c == 3 else 1)
    height, width = np.int64(row[BOX_HEIGHT]), np.int64(row[BOX_WIDTH])
    pitch, light = (width + 3) * step, np.float32(row[FILL] / ONE)
    tile[:pitch] = light
    for y in range(height):
        line = tile[(y + 1) * pitch : (y + 2) * pitch]
        line[:step] = light
        line[(width + 1) * step :] = light
    tile[(height + 1) * pitch : (height + 3) * pitch] = light
    return width, pitch + step, pitch, step, np.int64(1)


@jit
def surround(image, row, c, size):
    """What lies beside a tile that is not turned: FILL, its edge, or its mirror image, in place."""
    top, left = np.int64(row[BOX_TOP]), np.int64(row[BOX_LEFT])
    height, width = np.int64(row[BOX_HEIGHT]), np.int64(row[BOX_WIDTH])
    flags, light = row[FLAGS], np.float32(row[FILL] / ONE)
    for channel in range(c):
        plane = image[channel * size * size : (channel + 1) * size * size].reshape(size, size)
        for y in range(top, top + height):
            for x in range(size):
                j = nearest(x - left, width, flags) + left
                if j != x:
                    plane[y, x] = plane[y, j] if j >= 0 else light
        for y in range(size):
            i = nearest(y - top, height, flags) + top
            if i < 0:
                plane[y] = light
            elif i != y:
                plane[y] = plane[i]


@jit
def nearest(i, length, flags):
    """The pixel that is shown at i, for a tile of this length; far below 0 if it is FILL."""
    if flags & EDGE:
        return min(max(i, 0), length - 1)
    if flags & REFLECT:
        turned = i % (2 * length)
        return min(turned, 2 * length - 1 - turned)
    return i if 0 <= i < length else -(1 << 40)
