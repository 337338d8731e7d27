"""Masks of single objects in regions of the output, by definition, in plain numpy.

Legend: M objects, T side of a mask, N rows of parameters, S side of the output in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..masks.reference import HALF, Whole, locate, within
from ..sample.columns import ONE


def reference_runs(
    ends: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
) -> torch.Tensor:
    """`op.draw_runs`: (E,) int32, (M+1,), (M,), (N,2 or 3), (N,P), (M,4) -> (M,T,T) uint8."""
    out = np.zeros((len(image), side, side), np.uint8)
    for m, n in enumerate(image.tolist()):
        x, y, some = spots(regions[m], side)
        height, width = shape[n, :2].tolist()
        i, j, found = locate(params[n].tolist(), height, width, size, x, y)
        own = ends[int(start[m]) : int(start[m + 1])].numpy()
        run = np.searchsorted(own, j * height + i, side="right")  # runs go down the columns
        out[m] = found & (run % 2 == 1) & some
    return torch.from_numpy(out)


def reference_polygons(
    vertices: torch.Tensor,
    rings: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    moved: bool = False,
) -> torch.Tensor:
    """`op.draw_polygons`: (V,2), (R+1,), (M+1,), ..., (M,4) -> (M,T,T) uint8."""
    out = np.zeros((len(image), side, side), np.uint8)
    corners = np.rint(vertices.double().numpy() * ONE).astype(np.int64)
    for m, n in enumerate(image.tolist()):
        x, y, some = spots(regions[m], side)
        row = params[n].tolist()
        found = within(row, x, y)
        if not moved:
            height, width = shape[n, :2].tolist()
            i, j, found = locate(row, height, width, size, x, y)
            x, y = j * ONE, i * ONE
        inside = np.zeros((side, side), bool)
        for ring in range(int(start[m]), int(start[m + 1])):
            inside |= enclosed(corners[int(rings[ring]) : int(rings[ring + 1])], x + HALF, y + HALF)
        out[m] = inside & found & some
    return torch.from_numpy(out)


def spots(region: torch.Tensor, side: int) -> tuple[Whole, Whole, bool]:
    """Centres of the T x T cells of a region, Q16 from pixel centres: (T,T) x and y; any area?"""
    x0, y0, x1, y1 = np.rint(region.double().numpy() * ONE).astype(np.int64).tolist()
    cell = 2 * np.arange(side, dtype=np.int64) + 1
    across, down = (
        first + cell * (last - first) // (2 * side) - HALF for first, last in ((x0, x1), (y0, y1))
    )
    x, y = np.meshgrid(across, down)
    return x, y, x1 > x0 and y1 > y0


def enclosed(ring: Whole, x: Whole, y: Whole) -> NDArray[np.bool_]:
    """Which points (...) are inside a ring (n,2) by the even-odd rule; all Q16.

    An edge counts for the rows from its upper end up to, not with, its lower one, and for the
    points on it or to its right.
    """
    odd = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
        straddles = (ay <= y) != (by <= y)
        left, right = (y - ay) * (bx - ax), (x - ax) * (by - ay)
        odd ^= straddles & ((left <= right) if by > ay else (left >= right))
    return odd
