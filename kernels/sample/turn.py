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
from .lanes import lerp4, load4, splat4, store4

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
def positions(row, y, left, spline, u, v):
    """`reference.positions` of row y, from column `left` on -> u, v (n,) int64, Q16."""
    xx, xy, u0 = np.int64(ONE), np.int64(0), np.int64(0)
    yx, yy, v0 = np.int64(0), np.int64(ONE), np.int64(0)
    if row[FLAGS] & AFFINE:
        xx, xy, u0 = np.int64(row[XX]), np.int64(row[XY]), np.int64(row[X0])
        yx, yy, v0 = np.int64(row[YX]), np.int64(row[YY]), np.int64(row[Y0])
    u0 += xy * y + xx * left
    v0 += yy * y + yx * left
    for x in range(len(u)):
        u[x] = xx * x + u0
        v[x] = yx * x + v0
    if row[FLAGS] & BENT:
        bend(row, y, left, spline, u, v)


@jit
def bend(row, y, left, spline, u, v):
    """Add the displacement of row y to u and v, as `reference.bent` rounds it."""
    right, down = np.zeros(len(u), np.int64), np.zeros(len(u), np.int64)
    for k in range(POINTS):
        point_x, point_y = np.int64(0), np.int64(0)
        for j in range(POINTS):
            packed = np.int64(row[BEND + j * POINTS + k])
            point_x += spline[j, y] * ((packed & 0xFFFF) - ((packed & 0x8000) << 1))
            point_y += spline[j, y] * (packed >> 16)
        point_x, point_y = point_x >> 8, point_y >> 8
        weight = spline[k][left : left + len(u)]
        for x in range(len(u)):
            right[x] += point_x * weight[x]
            down[x] += point_y * weight[x]
    for x in range(len(u)):
        u[x] += right[x] >> Q
        v[x] += down[x] >> Q


@jit
def reach(place, corner, length, flags):
    """Positions in the output -> in the tile, from -1 to `length`, by the rule of the border."""
    shift, last = np.int64(corner) << Q, np.int64(length - 1) << Q
    if flags & (EDGE | REFLECT) == REFLECT:
        fold(place, shift, np.int64(length) << Q)
    elif flags & EDGE:
        for x in range(len(place)):
            place[x] = min(max(place[x] - shift, np.int64(0)), last)
    else:
        for x in range(len(place)):
            place[x] = min(max(place[x] - shift, np.int64(-ONE)), last + ONE)


@jit
def fold(place, shift, length):
    """Reflect about -0.5 and length - 0.5, then stay between the first and last pixel centre."""
    period = 2 * length
    for x in range(len(place)):
        t = (place[x] - shift + HALF) % period
        t = min(t, period - t) - HALF
        place[x] = min(max(t, np.int64(0)), length - ONE)


@jit
def turn(tile, row, c, region, spline, image):
    """Read the tile at the row's positions -> image, planes of `region` (top, left, B, D)."""
    top, left, height, width = region
    u, v = np.empty(width, np.int64), np.empty(width, np.int64)
    place = np.empty(width, np.uint64)
    right, down = np.empty(width, np.float32), np.empty(width, np.float32)
    four = np.empty(4 * width, np.float32)
    step = 4 if c == 3 else 1
    pitch, unit = (np.int64(row[BOX_WIDTH]) + 3) * step, np.float32(1 / ONE)
    for y in range(height):
        positions(row, top + y, left, spline, u, v)
        reach(u, row[BOX_LEFT], row[BOX_WIDTH], row[FLAGS])
        reach(v, row[BOX_TOP], row[BOX_HEIGHT], row[FLAGS])
        for x in range(width):
            place[x] = ((v[x] >> Q) + 1) * pitch + ((u[x] >> Q) + 1) * step
            right[x] = np.float32(u[x] & (ONE - 1)) * unit
            down[x] = np.float32(v[x] & (ONE - 1)) * unit
        if c == 1:
            pick(tile, place, right, down, np.uint64(pitch), image[y * width : (y + 1) * width])
            continue
        pick_rgb(tile, place, right, down, np.uint64(pitch), four)
        for channel in range(3):
            out = image[(channel * height + y) * width : (channel * height + y + 1) * width]
            for x in range(width):
                out[x] = four[4 * x + channel]


@jit
def pick(tile, place, right, down, pitch, out):
    """One gray row: four neighbours each, mixed by their shares."""
    one = np.uint64(1)
    for x in range(len(place)):
        at = place[x]
        above = tile[at] + right[x] * (tile[at + one] - tile[at])
        at += pitch
        below = tile[at] + right[x] * (tile[at + one] - tile[at])
        out[x] = above + down[x] * (below - above)


@jit
def pick_rgb(tile, place, right, down, pitch, out):
    """One row of four floats a pixel: a neighbour is one load."""
    four = np.uint64(4)
    for x in range(len(place)):
        at, share = place[x], splat4(right[x])
        above = lerp4(load4(tile, at), load4(tile, at + four), share)
        at += pitch
        below = lerp4(load4(tile, at), load4(tile, at + four), share)
        store4(out, 4 * x, lerp4(above, below, splat4(down[x])))


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
