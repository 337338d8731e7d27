"""Who is mixed with whom, and how much: columns PARTNER to MIX_WIDTH of the rows, on the host.

MixUp (Zhang et al., ICLR 2018) blends two whole images; CutMix (Yun et al., ICCV 2019) pastes a
rectangle of one into the other. The partner is in the same `resolve` call, which is one
norm_group, so the number of ranks changes nothing.

Legend: N images, P columns, S side of the output in pixels.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .. import draws
from ..sample.augment import Augment
from ..sample.columns import MIX_HEIGHT, MIX_LEFT, MIX_TOP, MIX_WIDTH, ONE, PARTNER, SHARE

if TYPE_CHECKING:
    from ..sample.params import Drawn

CELLS = 1 << 16  # of the table of Beta, over [0, 1/2]: a quarter of Q16's rounding each

Rows = NDArray[np.int32]
Shares = NDArray[np.float64]


def pair(augment: Augment, rows: Rows, size: int, drawn: Drawn) -> None:
    """Draw partner, share and rectangle of (N,P) rows, in place: MixUp, CutMix, or either.

    The partner is one of the N - 1 others, all as likely; alone, nobody is mixed. An image whose
    share rounds to 1 keeps to itself.
    """
    count = len(rows)
    if count < 2:
        return
    share = drawn.uniform(draws.MIX, 2)  # kind, partner, share, spare; y and x of the rectangle
    cut = share[:, 0, 0] < 0.5 if augment.mixup else np.ones(count, bool)
    cut &= augment.cutmix > 0
    blend = beta(augment.mixup, share[:, 0, 2]) if augment.mixup else np.ones(count)
    paste = beta(augment.cutmix, share[:, 0, 2]) if augment.cutmix else np.ones(count)
    box = _rectangle(paste, share[:, 1, :2], size)
    area = box[:, 2].astype(np.int64) * box[:, 3]
    kept = np.rint(np.where(cut, 1 - area / size**2, blend) * ONE).astype(np.int32)
    mixed = drawn.chance(augment.mix_chance, draws.MIX) & (kept < ONE)
    step = 1 + np.floor(share[:, 0, 1] * (count - 1)).astype(np.int32)
    rows[:, PARTNER] = np.where(mixed, step, 0)
    rows[:, SHARE] = np.where(mixed, kept, ONE)
    rows[:, MIX_TOP : MIX_WIDTH + 1] = np.where((mixed & cut)[:, None], box, 0)


def _rectangle(share: Shares, centre: Shares, size: int) -> Rows:
    """(N,) kept shares, (N,2) uniforms -> (N,4) top, left, height, width inside the S x S output.

    Its area is 1 - share of the output before what sticks out is cut off.
    """
    side = np.rint(size * np.sqrt(1 - share)).astype(np.int32)[:, None]
    middle = np.floor(centre * size).astype(np.int32)
    low = np.clip(middle - side // 2, 0, size)
    high = np.clip(middle - side // 2 + side, 0, size)
    return np.concatenate([low, high - low], axis=1)


def beta(a: float, uniform: Shares) -> Shares:
    """The quantiles of Beta(a, a), a > 0: (...) in [0, 1) -> (...) float64 in [0, 1].

    The inverse of a tabulated distribution function, symmetric about 1/2: a function of one
    uniform in float64, so it draws alike on every machine and wastes none, as rejection would
    (Johnk's method accepts 1 of 12,870 for a = 8). Within 2^-18, a quarter of Q16's step.
    """
    chance, share = _table(a)
    low = np.interp(np.minimum(uniform, 1 - uniform), chance, share)
    return np.where(uniform < 0.5, low, 1 - low)


@functools.lru_cache(maxsize=8)
def _table(a: float) -> tuple[Shares, Shares]:
    """Distribution function of Beta(a, a) at CELLS + 1 points of [0, 1/2], and the points.

    The density x^(a-1) (1-x)^(a-1): in a cell the first factor is integrated exactly, infinite at
    0 as it may be, the second, nearly constant there, is taken in the middle.
    """
    edge = np.arange(CELLS + 1) / (2 * CELLS)
    centre = (edge[:-1] + edge[1:]) / 2
    mass = np.diff(edge**a) * (1 - centre) ** (a - 1)
    chance = np.concatenate([[0.0], np.cumsum(mass)])
    return chance / (2 * chance[-1]), edge


def partners(rows: torch.Tensor) -> torch.Tensor:
    """(N,P) -> (N,) int64: the number in the batch of the image that each is mixed with."""
    own = torch.arange(len(rows), device=rows.device)
    return (own + rows[:, PARTNER]) % max(len(rows), 1)


def settle(rows: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(N,P), (N,) bool -> (N,P): nobody is mixed with padding. No wait for the device."""
    alone = rows.clone()
    alone[:, PARTNER], alone[:, SHARE] = 0, ONE
    alone[:, [MIX_TOP, MIX_LEFT, MIX_HEIGHT, MIX_WIDTH]] = 0
    return torch.where(valid[partners(rows)][:, None], rows, alone)
