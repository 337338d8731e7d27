"""Stain jitter: other amounts of haematoxylin, eosin and DAB than the laboratory used.

Optical density is unmixed by the matrix of Ruifrok and Johnston (Anal. Quant. Cytol. Histol. 23,
2001), the amount of each stain is multiplied by a factor near 1 and moved a little, and density
is mixed again (Tellez et al., IEEE Trans. Med. Imaging 37, 2018). All of it is one 3 x 3 matrix
and a shift of density, so `sample` needs no more than these: numbers of its rows, made on the host,
and no operation of torch. Amounts below 0 stay, where scikit-image's `separate_stains` cuts them.

Legend: N images, P columns (`sample/columns.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import draws
from .sample.augment import Augment
from .sample.columns import FLAGS, ONE, STAIN, STAIN_SHIFT, STAINED

if TYPE_CHECKING:
    from .sample.params import Drawn

DENSITY = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Density in R, G and B of haematoxylin, eosin and DAB, as published; directions count only."""
MIXED = DENSITY / np.linalg.norm(DENSITY, axis=1, keepdims=True)
SHIFT = 0.1  # of the range of the factors: 0.02 in natural density for factors of 0.8 to 1.2


def jitter(
    augment: Augment, rows: NDArray[np.int32], where: NDArray[np.bool_], drawn: Drawn
) -> None:
    """Draw matrix and shift of (N,P) rows where (N,) `where`, in place.

    Q16 rounds each number by at most 2^-17, so a density by (R + G + B densities + 1) * 2^-17 and
    light by at most 0.035 of an 8-bit level. Factors of 1 and no shift are exactly nothing.
    """
    share = drawn.uniform(draws.STAIN, 2)[:, :, :3] * 2 - 1
    factor, shift = 1 + augment.stain * share[:, 0], SHIFT * augment.stain * share[:, 1]
    rows[where, STAIN : STAIN_SHIFT + 3] = columns(factor, shift)[where]
    rows[:, FLAGS] |= STAINED * where


def columns(factor: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.int32]:
    """(N,3) factors and (N,3) shifts of the three stains -> (N,12) Q16, STAIN to the end of SHIFT.

    To a column of densities the matrix is M^T diag(factor) M^-T, M the mixing matrix, in rows.
    """
    matrix = MIXED.T @ (factor[:, :, None] * np.linalg.inv(MIXED).T)
    both = np.concatenate([matrix.reshape(-1, 9), shift @ MIXED], axis=1)
    return np.rint(both * ONE).astype(np.int32)
