"""`shrink` on the CPU: the two passes of `sample` without a square tile, rounded back to levels."""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import Q
from .resize import LINES, SPARE, across, across_rgb, blend
from .taps import BLOCK, bands, fill, room_in_bands, table


@jit
def shrink_rows(pixels, shape, out):
    """Flat source of (3,) shape -> out (H,W,C): source rows into a line, the line into pixels."""
    height, width, channels = out.shape
    down, over = np.int64(shape[0]) << Q, np.int64(shape[1]) << Q
    rows, columns = table(down, height, 0), table(over, width, 0)
    fill(0, down, shape[0], 0, 0, *rows)
    fill(0, over, shape[1], 0, 0, *columns)
    span = np.empty(((width + BLOCK - 1) // BLOCK, 3), np.int64)
    band = np.empty(room_in_bands(over, width, 0), np.float32)
    bands(*columns, span, band)
    stride = np.int64(shape[1]) * channels
    lines = np.zeros((LINES, stride + SPARE), np.float32)
    ready = np.empty((LINES, width + BLOCK), np.float32)
    for y in range(height):
        first, weight = rows[0][y] * stride, rows[2][y, : rows[1][y]]
        blend(pixels, first, stride, weight, np.float32(1), stride, lines[0])
        if channels == 1:
            across(lines[0], lines[0], lines[0], lines[0], 0, span, band, ready)
        else:
            across_rgb(lines[0], 0, span, band, ready)
        for channel in range(channels):
            for x in range(width):
                # Weights sum to 1: never over the largest level.
                out[y, x, channel] = ready[channel, x] + np.float32(0.5)
