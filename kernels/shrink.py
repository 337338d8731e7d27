"""Raw pixels made smaller before they are stored: the first passes of `sample`, rounded back.

The triangle filter, as torchvision's `resize(antialias=True)` and as `sample` has it: at most one
level of 255 (or of 65,535) from the exact mean.
"""

from __future__ import annotations

import numpy as np


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """(H,W,C) uint8 or uint16 -> the same with its shorter side `side` pixels, aspect kept.

    C is 1 or 3. An image that is not larger is returned as it is; nothing is ever enlarged. Runs
    without the interpreter lock. ImportError where numba is missing.
    """
    height, width, channels = pixels.shape
    if side >= min(height, width):
        return pixels
    out = np.empty((*shrunk(height, width, side), channels), pixels.dtype)
    from .sample.shrink import shrink_rows  # imports numba

    shrink_rows(np.ascontiguousarray(pixels).reshape(-1), np.array(pixels.shape, np.int32), out)
    return out


def shrunk(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) in pixels of what `shrink` makes of an image of that size."""
    shorter = min(height, width)
    if side >= shorter:
        return height, width
    return _scaled(height, side, shorter), _scaled(width, side, shorter)


def _scaled(length: int, side: int, shorter: int) -> int:
    return max(1, (2 * length * side + shorter) // (2 * shorter))
