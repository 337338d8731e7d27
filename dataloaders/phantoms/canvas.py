"""What drawn slices and radiographs share: coordinates, soft shapes, clouds, film.

Legend: H rows, W columns. Coordinates run from -1 to 1, x to the right and y down.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
"""float32 nearly everywhere: scalars in between would not let a checker believe it."""


def coordinates(rows: int, columns: int) -> tuple[Field, Field]:
    """(1, W) x and (H, 1) y of the pixel centres."""
    x = (np.arange(columns, dtype=np.float32) + 0.5) * (2 / columns) - 1
    y = (np.arange(rows, dtype=np.float32) + 0.5) * (2 / rows) - 1
    return x[None, :], y[:, None]


def cover(depth: Field, blur: float) -> Field:
    """1 where `depth` is above 0, 0 where it is below, with a smooth edge `blur` wide."""
    share = np.clip(depth / blur + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def blend(canvas: Field, mask: Field, value: Field | float) -> None:
    """Paint `value` over the canvas where the mask is 1, in place."""
    canvas += mask * (value - canvas)


def cloud(rng: np.random.Generator, rows: int, columns: int, cells: int) -> Field:
    """(H, W) smooth noise of mean 0 and spread near 0.6, with about `cells` lumps per side."""
    knots = rng.standard_normal((cells + 1, cells + 1), np.float32)
    return _slide(_slide(knots, rows).T, columns).T


def enlarge(field: Field, rows: int, columns: int) -> Field:
    """The same picture on (H, W) pixels."""
    return _slide(_slide(field, rows).T, columns).T


def _slide(knots: Field, length: int) -> Field:
    """(K, M) knots -> (length, M), from one to the next. No matrix product: BLAS threads cost
    more than they do here (16 ms against 1 on two busy cores), and round as they like."""
    place = np.linspace(0, len(knots) - 1, length, endpoint=False, dtype=np.float32)
    left = place.astype(int)
    share = (place - left)[:, None]
    share = share * share * (3 - 2 * share)
    return knots[left] * (1 - share) + knots[left + 1] * share


def spot(x: Field, y: Field, centre: tuple[float, float], radius: tuple[float, float]) -> Field:
    """(H, W) a Gaussian of height 1; `radius` is its spread in x and y."""
    across = np.exp(-0.5 * ((x - centre[0]) / radius[0]) ** 2)
    down = np.exp(-0.5 * ((y - centre[1]) / radius[1]) ** 2)
    return across * down


def expose(canvas: Field, rng: np.random.Generator, gain: float, gamma: float) -> NDArray[np.uint8]:
    """(H, W) light in 0..1 -> 8 bits through a device's response, with grain and uneven light."""
    rows, columns = canvas.shape
    light = canvas * (1 + rng.uniform(0.02, 0.12) * cloud(rng, rows, columns, 2))
    light += rng.uniform(0.008, 0.025) * rng.standard_normal((rows, columns), np.float32)
    values: NDArray[np.uint8] = (
        255 * np.clip(gain * np.clip(light, 0, 1.5) ** gamma, 0, 1)
    ).astype(np.uint8)
    return values
