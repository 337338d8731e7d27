"""Small calls of `sample_masks` that cover the odd cases; every test of ops runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..op import Example
from ..sample.augment import Augment
from ..sample.columns import BOX_HEIGHT, BOX_LEFT, BOX_TOP, BOX_WIDTH, FLAGS, KEEP
from ..sample.params import plain, resolve

ANYWHERE = Augment(
    area=(0.2, 1.0), ratio=(0.75, 4 / 3), flip=0.5, flip_vertical=0.5, rotate=180.0,
    scale=(0.5, 2.0), shear=30.0, translate=0.3, elastic=0.03, elastic_chance=0.7, fit="letterbox",
)  # fmt: skip
EDGED = Augment(rotate=90.0, scale=(0.3, 0.6), flip=0.5, flip_vertical=0.5, border="edge")
MIRRORED = Augment(rotate=90.0, scale=(0.2, 0.6), flip=0.5, flip_vertical=0.5, border="reflect")
ODD = [(31, 47), (64, 64), (101, 33), (7, 250)]
THIN = [(1, 1), (1, 90), (90, 1), (2, 3)]


def rows_of(augment: Augment | None, sides: list[tuple[int, int]], size: int) -> torch.Tensor:
    """(N,P) rows of images of these (H,W); without `augment` nothing is drawn."""
    shape = np.array([(height, width, 1) for height, width in sides])
    index = np.arange(len(shape))
    if augment is None:
        return torch.from_numpy(plain(Augment(), shape, size))
    return torch.from_numpy(resolve(augment, shape, size, seed=5, epoch=index * 0, index=index))


def mosaic(rows: torch.Tensor, size: int) -> torch.Tensor:
    """The four quarters of an output by four rows in turn, in place."""
    half = size // 2
    for n in range(len(rows)):
        down, across = divmod(n % 4, 2)
        rows[n, BOX_TOP], rows[n, BOX_LEFT] = down * half, across * half
        rows[n, BOX_HEIGHT] = size - half if down else half
        rows[n, BOX_WIDTH] = size - half if across else half
    rows[:, FLAGS] |= KEEP
    return rows


def label(
    sides: list[tuple[int, int]], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random labels of these (H,W) -> flat, start (N,), shape (N,2)."""
    counts = [height * width for height, width in sides]
    kind = {torch.uint8: np.uint8, torch.uint16: np.uint16, torch.int32: np.int32}[dtype]
    info = torch.iinfo(dtype)
    flat = np.random.default_rng(0).integers(info.min, info.max, sum(counts), endpoint=True)
    start = torch.tensor([0, *np.cumsum(counts)[:-1]], dtype=torch.int64)
    return torch.from_numpy(flat.astype(kind)), start, torch.tensor(sides, dtype=torch.int32)


def _example(
    name: str,
    sides: list[tuple[int, int]],
    augment: Augment | None,
    size: int,
    dtype: torch.dtype = torch.uint8,
    **settings: Any,
) -> Example:
    rows = rows_of(augment, sides, size)
    rows = mosaic(rows, size) if "parts" in settings else rows
    return Example(name, (*label(sides, dtype), rows), {"size": size, **settings})


def examples() -> list[Example]:
    """Calls that between them reach every branch of a back end."""
    return [
        _example("labels, plain", ODD, None, 17),
        _example("labels, one pixel wide", THIN, ANYWHERE, 9, outside=7),
        _example("labels, one pixel out", ODD, ANYWHERE, 1),
        _example("labels anywhere", ODD * 2, ANYWHERE, 24, outside=255),
        _example("labels of 16 bits", ODD, ANYWHERE, 33, torch.uint16, outside=65535),
        _example("labels of 32 bits", ODD, ANYWHERE, 33, torch.int32, outside=-1),
        _example("labels with their edge repeated", ODD + THIN, EDGED, 20),
        _example("labels mirrored", ODD + THIN, MIRRORED, 20),
        _example("labels of a mosaic", ODD * 2, ANYWHERE, 25, parts=4, outside=9),
    ]
