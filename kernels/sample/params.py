"""Draws become rows: random ranges, image shapes and sample numbers in, integers out, on the host.

Legend: N images, P columns (`columns.py` says what they mean), S side of the output in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import draws
from ..mix.pair import pair
from ..stain import jitter
from .augment import Augment, Range
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
    COLOUR,
    COLUMNS,
    CONTRAST,
    EDGE,
    ERASE_TOP,
    ERASE_WIDTH,
    FILL,
    FLAGS,
    GAMMA,
    HEIGHT,
    KEY0,
    KEY1,
    LEFT,
    LONGEST,
    MIRROR,
    NOISE,
    ONE,
    POINTS,
    REFLECT,
    SATURATION,
    SHARE,
    STAIN,
    TOP,
    UPEND,
    WIDTH,
    X0,
    XX,
    Y0,
    YX,
    YY,
    Q,
)

TRIES = 10  # torchvision's RandomResizedCrop and RandomErasing
NEUTRAL = (XX, YY, BRIGHTNESS, CONTRAST, SATURATION, GAMMA, SHARE, *range(STAIN, STAIN + 9, 4))

Rows = NDArray[np.int32]
Shares = NDArray[np.float64]


def resolve(
    augment: Augment,
    shape: ArrayLike,
    size: int,
    *,
    seed: int,
    epoch: ArrayLike,
    index: ArrayLike,
) -> Rows:
    """Draw for each: (N,3) full-resolution (H,W,C), S, (N,) epoch, (N,) index -> (N,P) int32.

    A row depends on its own (seed, epoch, index) and shape only; PARTNER on N too, which is one
    norm_group. ValueError for sides outside 1 to 32,767 pixels, or indices and epochs that
    `draws.words` refuses.
    """
    rows = plain(augment, shape, size)
    index, epoch = np.broadcast_arrays(np.asarray(index), np.asarray(epoch))
    if index.shape != (len(rows),):
        raise ValueError(f"index and epoch must be ({len(rows)},), got {index.shape}")
    drawn = Drawn(seed, index, epoch, _surely(augment))
    _place(augment, rows, size, drawn)
    _bend(augment, rows, size, drawn)
    _tone(augment, rows, drawn)
    if augment.stain:
        jitter(augment, rows, drawn.chance(augment.stain_chance, draws.STAIN), drawn)
    if augment.erase:
        _erase(augment, rows, size, drawn)
    if augment.mixup or augment.cutmix:
        pair(augment, rows, size, drawn)
    return rows


def _surely(augment: Augment) -> dict[int, int]:
    """op -> blocks of the usual draws that `resolve` will ask for: made in one call, 4 times as
    quick as one by one for a batch of 32. What is not listed is drawn when asked for."""
    cropped = tuple(augment.area) != (1, 1) or tuple(augment.ratio) != (1, 1)
    asked = {
        draws.CROP: TRIES * cropped,
        draws.FLIP: bool(augment.flip or augment.flip_vertical),
        draws.ROTATE: bool(augment.rotate),
        draws.COLOUR: bool(augment.brightness or augment.contrast or augment.saturation),
    }
    return {op: int(blocks) for op, blocks in asked.items() if blocks}


class Drawn:
    """The uniforms of N samples: functions of (seed, epoch, index, op, block).

    Those of `surely`, op -> blocks, are computed at once, the others on call.
    """

    def __init__(
        self,
        seed: int,
        index: NDArray[np.integer],
        epoch: NDArray[np.integer],
        surely: Mapping[int, int] | None = None,
    ) -> None:
        self.seed, self.index, self.epoch = seed, index, epoch
        self._made: dict[tuple[int, int], NDArray[np.uint32]] = {}
        if surely:
            op = np.repeat(list(surely), list(surely.values()))
            block = np.concatenate([np.arange(blocks) for blocks in surely.values()])
            words = draws.words(seed, index[:, None], epoch[:, None], op, block)
            parts = np.split(words, np.cumsum(list(surely.values()))[:-1], axis=1)
            self._made = dict(zip(surely.items(), parts, strict=True))

    def words(self, op: int, blocks: int = 1) -> NDArray[np.uint32]:
        """(N, blocks, 4) uint32."""
        if (made := self._made.get((op, blocks))) is not None:
            return made
        block = np.arange(blocks)
        return draws.words(self.seed, self.index[:, None], self.epoch[:, None], op, block)

    def uniform(self, op: int, blocks: int = 1) -> Shares:
        """(N, 4) in [0, 1), or (N, blocks, 4) if there are several."""
        found = draws.uniform(self.words(op, blocks))
        return found[:, 0] if blocks == 1 else found

    def chance(self, chance: float, op: int) -> NDArray[np.bool_]:
        """(N,) whether an optional step is made: its own draw, word 0 of block 255 of its op."""
        if chance >= 1:
            return np.ones(len(self.index), bool)
        word = draws.words(self.seed, self.index, self.epoch, op, 255)[:, 0]
        return draws.uniform(word) < chance


def plain(augment: Augment, shape: ArrayLike, size: int) -> Rows:
    """Nothing drawn, for evaluation: (N,3) full-resolution (H,W,C), S -> (N,P) int32.

    "squash" takes the whole image, "crop" its largest centred square (torchvision's CenterCrop),
    "letterbox" the whole image at its own aspect, centred, with `fill` beside it.
    """
    shape = np.asarray(shape)
    if shape.ndim != 2 or shape.shape[1] != 3:
        raise ValueError(f"shape must be (N,3), got {shape.shape}")
    sides = shape[:, :2].astype(np.int64)
    if sides.size and not (sides.min() >= 1 and sides.max() <= LONGEST):
        raise ValueError(f"sides must be 1 to {LONGEST} pixels, got {sides.min()} to {sides.max()}")
    if not 1 <= size <= LONGEST // 2:
        raise ValueError(f"size must be 1 to {LONGEST // 2} pixels, got {size}")
    window = sides
    if augment.fit == "crop":
        window = np.minimum(sides, sides.min(axis=1, keepdims=True))
    rows = np.zeros((len(shape), COLUMNS), np.int32)
    rows[:, TOP : LEFT + 1] = np.rint((sides - window) / 2) * ONE
    rows[:, HEIGHT : WIDTH + 1] = window * ONE
    rows[:, NEUTRAL] = ONE
    rows[:, FLAGS] = {"constant": 0, "edge": EDGE, "reflect": REFLECT}[augment.border]
    rows[:, FILL] = round(augment.fill * ONE)
    _box(augment, rows, size)
    return rows


def _box(augment: Augment, rows: Rows, size: int) -> None:
    """Where the window lies in the output, in place: everywhere, or undistorted and centred."""
    rows[:, BOX_TOP : BOX_LEFT + 1], rows[:, BOX_HEIGHT : BOX_WIDTH + 1] = 0, size
    if augment.fit != "letterbox":
        return
    window = rows[:, HEIGHT : WIDTH + 1].astype(np.int64)
    longest = window.max(axis=1, keepdims=True)
    box = np.maximum(1, (2 * window * size + longest) // (2 * longest))
    rows[:, BOX_TOP : BOX_LEFT + 1] = (size - box) // 2
    rows[:, BOX_HEIGHT : BOX_WIDTH + 1] = box


def _place(augment: Augment, rows: Rows, size: int, drawn: Drawn) -> None:
    """Crop, flips and affine of (N,P) rows, in place."""
    if tuple(augment.area) != (1, 1) or tuple(augment.ratio) != (1, 1):
        window = slice(TOP, WIDTH + 1)
        rows[:, window] = _crop(augment, rows[:, window], drawn.uniform(draws.CROP, TRIES))
        _box(augment, rows, size)
    if augment.flip or augment.flip_vertical:
        flips = drawn.uniform(draws.FLIP)
        rows[:, FLAGS] |= MIRROR * (flips[:, 0] < augment.flip)
        rows[:, FLAGS] |= UPEND * (flips[:, 1] < augment.flip_vertical)
    stretched = augment.shear or augment.translate or tuple(augment.scale) != (1, 1)
    if not (augment.rotate or stretched):
        return
    turned = drawn.chance(augment.affine_chance, draws.ROTATE)
    angle = _between((-augment.rotate, augment.rotate), drawn.uniform(draws.ROTATE)[:, 0])
    if not stretched:
        rotate(rows, angle, size, turned)
        return
    share = drawn.uniform(draws.AFFINE, 2)
    move(
        rows,
        size,
        degrees=angle,
        scale=_between(augment.scale, share[:, 0, 0]),
        shear=_between((-augment.shear, augment.shear), share[:, 0, 1:3]),
        shift=size * _between((-augment.translate, augment.translate), share[:, 1, :2]),
        where=turned,
    )


def _crop(augment: Augment, fitted: Rows, tries: Shares) -> NDArray[np.int64]:
    """RandomResizedCrop inside fitted windows: (N,4) Q16, (N,TRIES,4) uniforms -> (N,4) Q16."""
    corner, side = fitted[:, None, :2] >> Q, fitted[:, None, 2:] >> Q
    area = _between(augment.area, tries[..., 0])
    low, high = augment.ratio
    ratio = np.exp(_between((math.log(low), math.log(high)), tries[..., 1]))
    share = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], axis=-1)  # of height, width
    crop = np.rint(share * side).astype(np.int64)
    fits = ((crop > 0) & (crop <= side)).all(axis=-1)
    start = np.floor(tries[..., 2:] * (side - crop + 1)).astype(np.int64)
    first = np.argmax(fits, axis=1)
    row = np.arange(len(fitted))
    drawn = np.concatenate([(corner + start)[row, first], crop[row, first]], axis=1)

    # No try fits: the largest centred window whose ratio is allowed.
    most = np.array([min(1.0, 1 / low), min(1.0, high)])  # of height if too tall, width if too wide
    crop = np.maximum(np.rint(side[:, 0] * most), 1).astype(np.int64)
    centred = np.concatenate([corner[:, 0] + (side[:, 0] - crop) // 2, crop], axis=1)
    return np.where(fits.any(axis=1, keepdims=True), drawn, centred) * ONE


def _bend(augment: Augment, rows: Rows, size: int, drawn: Drawn) -> None:
    """Control points of (N,P) rows, in place; none moves by more than `elastic` * S pixels."""
    if not augment.elastic:
        return
    blocks = -(-2 * POINTS * POINTS // 4)
    share = drawn.uniform(draws.BEND, blocks).reshape(len(rows), -1)[:, : 2 * POINTS * POINTS]
    most = min(augment.elastic * size, 127.0) * 256
    bend(rows, np.rint(_between((-most, most), share)).reshape(-1, POINTS, POINTS, 2))
    kept = drawn.chance(augment.elastic_chance, draws.BEND)
    rows[~kept, FLAGS] &= ~BENT


def _tone(augment: Augment, rows: Rows, drawn: Drawn) -> None:
    """Colour factors, gamma, blur and noise of (N,P) rows, in place."""
    coloured = drawn.chance(augment.colour_chance, draws.COLOUR)
    if augment.brightness or augment.contrast or augment.saturation:
        share = drawn.uniform(draws.COLOUR)
        rows[:, FLAGS] |= COLOUR * coloured
        for column, name in enumerate(("brightness", "contrast", "saturation")):
            spread = getattr(augment, name)
            factor = _between((max(0.0, 1 - spread), 1 + spread), share[:, column])
            rows[:, BRIGHTNESS + column] = np.rint(np.where(coloured, factor, 1) * ONE)
    if augment.gamma:
        reach = math.log1p(augment.gamma)
        power = np.exp(_between((-reach, reach), drawn.uniform(draws.COLOUR)[:, 3]))
        rows[:, GAMMA] = np.rint(np.where(coloured, power, 1) * ONE)
    if augment.blur:
        half = drawn.uniform(draws.BLUR)[:, 0] * augment.blur
        rows[:, BLUR] = np.rint(half * drawn.chance(augment.blur_chance, draws.BLUR) * ONE)
    if augment.noise:
        deviation = drawn.uniform(draws.NOISE)[:, 0] * augment.noise
        rows[:, NOISE] = np.rint(deviation * drawn.chance(augment.noise_chance, draws.NOISE) * ONE)
        rows[:, [KEY0, KEY1]] = drawn.words(draws.NOISE)[:, 0, 2:].view(np.int32)


def _erase(augment: Augment, rows: Rows, size: int, drawn: Drawn) -> None:
    """torchvision's RandomErasing of (N,P) rows, in place: the first try that fits, or nothing."""
    tries = drawn.uniform(draws.ERASE, TRIES)
    area = size * size * _between(augment.erase_area, tries[..., 0])
    low, high = augment.erase_ratio
    ratio = np.exp(_between((math.log(low), math.log(high)), tries[..., 1]))
    side = np.rint(np.sqrt(np.stack([area * ratio, area / ratio], axis=-1))).astype(np.int64)
    fits = np.all((side >= 1) & (side < size), axis=-1)
    start = np.floor(tries[..., 2:] * (size - side + 1)).astype(np.int64)
    row, first = np.arange(len(rows)), np.argmax(fits, axis=1)
    found = np.concatenate([start[row, first], side[row, first]], axis=1)
    made = fits.any(axis=1) & drawn.chance(augment.erase, draws.ERASE)
    rows[:, ERASE_TOP : ERASE_WIDTH + 1] = np.where(made[:, None], found, 0)


def _between(ends: Range, share: Shares) -> Shares:
    return ends[0] + (ends[1] - ends[0]) * share


def rotate(rows: Rows, degrees: ArrayLike, size: int, where: ArrayLike = True) -> None:
    """Set the affine of (N,P) rows to a turn about the centre, counter-clockwise, in place.

    The offsets come from the rounded matrix, so the centre stays put and the error of Q16 is at
    most S/2 * 2^-16 pixels, 0.002 at 224.
    """
    angle = np.radians(np.broadcast_to(np.asarray(degrees, np.float64), len(rows)))
    cosine, sine = np.cos(angle), np.sin(angle)
    _set_affine(rows, np.array([[cosine, -sine], [sine, cosine]]), 0.0, size, where)


def move(
    rows: Rows,
    size: int,
    *,
    degrees: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    shear: ArrayLike = (0.0, 0.0),
    shift: ArrayLike = (0.0, 0.0),
    where: ArrayLike = True,
) -> None:
    """Set the affine of (N,P) rows as torchvision's `affine` does, about the centre, in place.

    degrees (N,) counter-clockwise (torchvision's `affine` counts clockwise), scale (N,), shear
    (N,2) degrees, shift (N,2) pixels, x before y; `where` (N,) bool leaves the others as they are.
    ValueError if a position comes to lie beyond 32,767 pixels.
    """
    count = len(rows)
    angle = -np.radians(np.broadcast_to(np.asarray(degrees, np.float64), count))
    sx, sy = np.radians(np.broadcast_to(np.asarray(shear, np.float64), (count, 2))).T
    lean, scale = np.cos(sy), np.broadcast_to(np.asarray(scale, np.float64), count)
    a, c = np.cos(angle - sy) / lean, np.sin(angle - sy) / lean
    b, d = -a * np.tan(sx) - np.sin(angle), -c * np.tan(sx) + np.cos(angle)
    inverse = np.array([[d, -b], [-c, a]]) / scale
    _set_affine(rows, inverse, np.broadcast_to(np.asarray(shift, float), (count, 2)), size, where)


def _set_affine(
    rows: Rows, inverse: Shares, shift: Shares | float, size: int, where: ArrayLike
) -> None:
    """(2,2,N) from output to tile, (N,2) pixels: the matrix is rounded before the offsets."""
    where = np.broadcast_to(np.asarray(where, bool), len(rows))
    matrix = np.rint(inverse * ONE).astype(np.int64)
    shift = np.broadcast_to(shift, (len(rows), 2))
    for line, (first, last) in enumerate(((XX, X0), (YX, Y0))):
        across, down = matrix[line]
        other = ONE - across - down
        offset = ((size - 1) * other >> 1) - np.rint(across * shift[:, 0] + down * shift[:, 1])
        reach = np.abs(offset) + (np.abs(across) + np.abs(down)) * size
        if where.any() and reach[where].max() > LONGEST * ONE:
            raise ValueError(
                f"scale and shear reach {reach[where].max() / ONE:,.0f} pixels away at size {size},"
                f" at most {LONGEST:,}: narrow the range of scale, shear or translate"
            )
        found = np.stack([across, down, offset.astype(np.int64)], axis=1)
        rows[where, first : last + 1] = found[where]
    rows[:, FLAGS] |= AFFINE * where


def bend(rows: Rows, points: NDArray[np.floating]) -> None:
    """Set the displacement of (N,P) rows, in place: (N,7,7,2) whole 1/256 pixels, x before y."""
    whole = points.astype(np.int64)
    packed = (whole[..., 1] << 16) | (whole[..., 0] & 0xFFFF)
    rows[:, BEND:] = packed.reshape(len(rows), -1)
    rows[:, FLAGS] |= BENT


def choose_level(params: Rows, levels: ArrayLike) -> NDArray[np.int64]:
    """The mip level to read: (N,P) full-resolution rows, (N,) levels there are -> (N,) level.

    The coarsest that still leaves a shrink of at least 2 in both directions, 0 (full size) if none
    does: window / 2^level / box >= 2.
    """
    window, box = params[:, HEIGHT : WIDTH + 1], params[:, BOX_HEIGHT : BOX_WIDTH + 1]
    shrink = (window // (2 * box.astype(np.int64) * ONE)).min(axis=1)
    level = np.frexp(shrink.astype(np.float64))[1] - 1  # floor(log2), exact; -1 for 0
    return np.clip(level, 0, np.asarray(levels, np.int64) - 1)


def at_level(params: Rows, level: ArrayLike) -> Rows:
    """Scale the windows of full-resolution rows by 2^-level: (N,P), (N,) -> (N,P), a copy."""
    scaled = params.copy()
    scaled[:, TOP : WIDTH + 1] >>= np.asarray(level, np.int32)[:, None]
    return scaled
