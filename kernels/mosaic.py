"""Rows of a mosaic: four images in one output, around a random centre (YOLOv4, Bochkovskiy 2020).

No `Augment` asks for it yet. The feed of a detection recipe will call it, and `sample` paints it:

    four = np.column_stack([places, order.partners(places, epochs)]).ravel()
    rows = resolve(augment, shape[four], size, seed=seed, epoch=epochs.repeat(4), index=four)
    mosaic(augment, rows, size, Drawn(seed, places, epochs))
    batch = sample(pixels, start, shape, torch.from_numpy(rows), size=size, parts=4, ...)

Legend: N outputs, P columns (`sample/columns.py`), S side of the output in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import draws
from .sample.augment import Augment
from .sample.columns import (
    AFFINE,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    EDGE,
    FLAGS,
    HEIGHT,
    KEEP,
    LEFT,
    MIX_WIDTH,
    ONE,
    PARTNER,
    REFLECT,
    SHARE,
    TOP,
    WIDTH,
    X0,
    XX,
    XY,
    Y0,
    YX,
    YY,
)
from .sample.params import Drawn

PARTS = 4  # top left, top right, bottom left, bottom right
MARGIN = 0.25  # the centre is at least this share of S from every side

Rows = NDArray[np.int32]
Whole = NDArray[np.int64]


def mosaic(augment: Augment, rows: Rows, size: int, drawn: Drawn) -> None:
    """Compose each four of (4N,P) resolved rows into one output, in place; `drawn` is of the N.

    A part goes into its quarter as `augment.fit` says: stretched, cut to the quarter's shape, or
    whole beside the centre with the fill around it. Its turn is about the middle of its own box.
    The first part has no KEEP: it paints the fill everywhere, and the others paint over it, so
    what a turn pushes out of its box shows in a letterbox's gaps. Nobody is mixed: `pair` a
    mosaic afterwards, by the first row of each four.

    ValueError unless there are four rows for each that is drawn for, and S is 2 or more.
    """
    count = len(drawn.index)
    if len(rows) != PARTS * count:
        raise ValueError(f"rows must be {PARTS} for each of {count} samples, got {len(rows)}")
    if size < 2:
        raise ValueError(f"size must be 2 pixels or more for a mosaic, got {size}")
    quarter = _quarters(drawn.uniform(draws.MOSAIC)[:, :2], size)
    if augment.fit == "crop":
        _cut(rows, quarter[:, 2:])
    box = _letterboxed(rows, quarter, size) if augment.fit == "letterbox" else quarter
    rows[:, BOX_TOP : BOX_WIDTH + 1] = box
    _recentre(rows, size)
    first = np.arange(len(rows)) % PARTS == 0
    rows[first, FLAGS] &= ~(EDGE | REFLECT | KEEP)
    rows[~first, FLAGS] |= KEEP
    rows[:, PARTNER : MIX_WIDTH + 1] = 0
    rows[:, SHARE] = ONE


def _quarters(share: NDArray[np.float64], size: int) -> Whole:
    """(N,2) uniforms for y and x of the centre -> (4N,4) top, left, height, width; none empty."""
    most = size - max(1, round(MARGIN * size))
    least = size - most
    centre = least + np.floor(share * (most - least + 1)).astype(np.int64)
    (y, x), zero = centre.T, np.zeros(len(centre), np.int64)
    top, left = np.stack([zero, zero, y, y]), np.stack([zero, x, zero, x])
    height, width = np.stack([y, y, size - y, size - y]), np.stack([x, size - x, x, size - x])
    return np.stack([top, left, height, width], axis=-1).transpose(1, 0, 2).reshape(-1, 4)


def _cut(rows: Rows, box: Whole) -> None:
    """Narrow each window to the shape of its box, (4N,2) height and width, about its middle."""
    window = rows[:, HEIGHT : WIDTH + 1].astype(np.int64)
    fitting = window[:, ::-1] * box // box[:, ::-1]  # the height that suits the width, and back
    kept = np.maximum(1, np.minimum(window, fitting))
    rows[:, TOP : LEFT + 1] += ((window - kept) // 2).astype(np.int32)
    rows[:, HEIGHT : WIDTH + 1] = kept


def _letterboxed(rows: Rows, quarter: Whole, size: int) -> Whole:
    """(4N,4) quarters -> the part of each that its window fills undistorted, next to the centre."""
    window, room = rows[:, HEIGHT : WIDTH + 1].astype(np.int64), quarter[:, 2:]
    fitting = (2 * window * room[:, ::-1] + window[:, ::-1]) // (2 * window[:, ::-1])
    side = np.maximum(1, np.minimum(room, fitting))
    corner = np.where(quarter[:, :2] == 0, room - side, size - room)
    return np.concatenate([corner, side], axis=1)


def _recentre(rows: Rows, size: int) -> None:
    """Affines about the middle of the output become the same about the middle of the box."""
    where = (rows[:, FLAGS] & AFFINE) > 0
    part = rows[where].astype(np.int64)
    x = 2 * part[:, BOX_LEFT] + part[:, BOX_WIDTH] - size  # twice the way from there to here
    y = 2 * part[:, BOX_TOP] + part[:, BOX_HEIGHT] - size
    part[:, X0] += (x * (ONE - part[:, XX]) - y * part[:, XY]) >> 1
    part[:, Y0] += (y * (ONE - part[:, YY]) - x * part[:, YX]) >> 1
    rows[where] = part
