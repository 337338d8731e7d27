"""`shrink` on the CPU: the two passes of `sample` without a square tile, rounded back to levels."""

from __future__ import annotations

import numpy as np

from ..op import jit
from .columns import Q
from .resize import LANES, bench, resize
from .taps import fill, table

BAND = 8 * LANES  # rows of the result that are made together


@jit
def shrink_rows(pixels, shape, out):
    """Flat source of (3,) shape -> out (H,W,C), a band of rows at a time."""
    height, width, channels = out.shape
    down, over = np.int64(shape[0]) << Q, np.int64(shape[1]) << Q
    rows, columns = table(down, height, 0), table(over, width, 0)
    fill(0, down, shape[0], 0, 0, *rows)
    fill(0, over, shape[1], 0, 0, *columns)
    light = np.empty(0, np.float32)
    work = bench(np.int64(shape[1]) * channels, len(columns[2]) * channels)
    plane = BAND * width
    tile = np.empty(channels * plane, np.float32)
    levels = np.float32(255) if pixels.itemsize == 1 else np.float32(65535)
    for top in range(0, height, BAND):
        many = min(BAND, height - top)
        lo, count, weight = rows
        # A copy: `resize` takes addresses, so its tables have to be whole.
        band = (lo[top : top + many], count[top : top + many], weight[:, top : top + many].copy())
        layout = (width, 0 * many, width, 1, plane)
        resize(pixels, 0, shape, channels, band, columns, light, work, tile, layout)
        for channel in range(channels):
            found = tile[channel * plane : channel * plane + many * width]
            line = out[top : top + many].reshape(many * width * channels)
            for i in range(many * width):
                # Weights sum to 1: never over the largest level.
                line[i * channels + channel] = found[i] * levels + np.float32(0.5)
