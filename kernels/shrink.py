"""Raw pixels made smaller before they are stored: the first passes of `sample`, rounded back.

The triangle filter, as torchvision's `resize(antialias=True)` and as `sample` has it: at most one
level of 255 (or of 65,535) from the exact mean.
"""

from __future__ import annotations

import numpy as np

from .op import jit
from .sample.cpu import blend, fill, gather, gather_rgb, table
from .sample.params import Q


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """(H,W,C) uint8 or uint16 -> the same with its shorter side `side` pixels, aspect kept.

    C is 1 or 3. An image that is not larger is returned as it is; nothing is ever enlarged. Runs
    without the interpreter lock. ImportError where numba is missing.
    """
    height, width, channels = pixels.shape
    shorter = min(height, width)
    if side >= shorter:
        return pixels
    shape = (_scaled(height, side, shorter), _scaled(width, side, shorter), channels)
    out = np.empty(shape, pixels.dtype)
    _shrink(np.ascontiguousarray(pixels).reshape(-1), np.array(pixels.shape, np.int32), out)
    return out


def _scaled(length: int, side: int, shorter: int) -> int:
    return max(1, (2 * length * side + shorter) // (2 * shorter))


@jit
def _shrink(pixels, shape, out):
    """Row by row: weighted source rows into one line, then the line's pixels into the output's."""
    height, width, channels = out.shape
    rows, columns = table(height, shape[0]), table(width, shape[1])
    fill(0, np.int64(shape[0]) << Q, shape[0], 0, *rows)
    fill(0, np.int64(shape[1]) << Q, shape[1], 0, *columns)
    stride, most = np.int64(shape[1]) * channels, np.int64(columns[1].max())
    line = np.zeros(stride + columns[2].shape[1] * channels, np.float32)
    ready = np.empty(width * channels, np.float32)
    for y in range(height):
        first, count = np.int64(rows[0][y]) * stride, np.int64(rows[1][y])
        blend(pixels, first, stride, count, rows[2][y], np.float32(1), line[:stride])
        if channels == 1:
            gather(line, np.uint64(0), columns[0], most, columns[2], ready)
        else:
            gather_rgb(line, np.uint64(0), columns[0], columns[1], columns[2], ready)
        stored = out[y].reshape(width * channels)
        for x in range(width * channels):
            stored[x] = ready[x] + np.float32(0.5)  # weights sum to 1: never over the largest
