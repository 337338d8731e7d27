"""`shrink` on the CPU: the two passes of `sample` without a square tile, rounded back to levels."""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import Q
from .cpu import blend, fill, gather, gather_rgb, table


@jit
def shrink_rows(pixels, shape, out):
    """Flat source of (3,) shape -> out (H,W,C): source rows into a line, the line into pixels."""
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
