"""Which steps a batch can need, as a bit mask: a back end for cards leaves the others out.

The rows lie on the card when `sample` starts, and looking at them there would wait for the card. So
the host says beforehand what to expect: `possible` of a recipe (one mask, one CUDA graph for a
whole run), or `needed` of the rows while they are still on the host. ALL is always right.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from .augment import Augment
from .columns import (
    AFFINE,
    BENT,
    BOX_HEIGHT,
    BOX_LEFT,
    BOX_TOP,
    BOX_WIDTH,
    BRIGHTNESS,
    COLOUR,
    CONTRAST,
    ERASE_HEIGHT,
    FLAGS,
    GAMMA,
    NOISE,
    ONE,
    SATURATION,
    STAINED,
)

NAMES = (
    "gray",
    "rgb",
    "turn",
    "bend",
    "stain",
    "tone",
    "contrast",
    "gamma",
    "noise",
    "erase",
    "box",
)
GRAY, RGB, TURN, BEND, STAIN, TONE, PIVOT, POWER, GRAIN, HOLE, BOX = (1 << b for b in range(11))
ALL = (1 << 11) - 1


def possible(augment: Augment, *, gray: bool = True, rgb: bool = True) -> int:
    """The steps of any row drawn from `augment`; whether sources with 1 and 3 channels occur."""
    moved = augment.rotate or augment.shear or augment.translate or tuple(augment.scale) != (1, 1)
    return _mask(
        gray=gray,
        rgb=rgb,
        turn=bool(moved or augment.elastic),
        bend=augment.elastic > 0,
        stain=augment.stain > 0,
        tone=augment.brightness > 0 or augment.saturation > 0,
        contrast=augment.contrast > 0,
        gamma=augment.gamma > 0,
        noise=augment.noise > 0,
        erase=augment.erase > 0,
        box=augment.fit == "letterbox",
    )


def needed(params: ArrayLike | torch.Tensor, shape: ArrayLike | torch.Tensor, size: int) -> int:
    """The steps of these rows: (N,P) int32 and (N,3) int32 on the host, S -> a mask."""
    row, flags = np.asarray(params), np.asarray(params)[:, FLAGS]
    coloured = row[flags & COLOUR != 0]
    whole = (row[:, [BOX_TOP, BOX_LEFT]] == 0) & (row[:, [BOX_HEIGHT, BOX_WIDTH]] == size)
    return _mask(
        gray=(np.asarray(shape)[:, 2] == 1).any(),
        rgb=(np.asarray(shape)[:, 2] == 3).any(),
        turn=(flags & (AFFINE | BENT)).any(),
        bend=(flags & BENT).any(),
        stain=(flags & STAINED).any(),
        tone=(coloured[:, [BRIGHTNESS, SATURATION]] != ONE).any(),
        contrast=(coloured[:, CONTRAST] != ONE).any(),
        gamma=(row[:, GAMMA] != ONE).any(),
        noise=row[:, NOISE].any(),
        erase=row[:, ERASE_HEIGHT].any(),
        box=not whole.all(),
    )


def _mask(**wanted: bool | np.bool_) -> int:
    return sum(bool(wanted[name]) << bit for bit, name in enumerate(NAMES))
