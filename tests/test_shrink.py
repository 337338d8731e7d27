"""Making raw pixels smaller: torchvision's anti-aliased resize, in the pixels' own type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from trees import draw

from foveate.kernels.shrink import shrink


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(496, 768, 256), (301, 517, 300), (517, 301, 37), (64, 64, 1), (1999, 33, 32), (90, 700, 45)],
)
def test_pixels_are_the_exact_anti_aliased_means_rounded(height, width, side, channels, deep):
    pixels = draw(3, height, width, channels, deep)
    small = shrink(pixels, side)
    assert small.dtype == pixels.dtype and min(small.shape[:2]) == side
    exact = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None]
    exact = torch.nn.functional.interpolate(exact, small.shape[:2], mode="bilinear", antialias=True)
    off = np.abs(small - exact[0].permute(1, 2, 0).numpy()).max()
    assert off <= (0.5 + 0.02 * (256 if deep else 1))


def test_extremes_stay_extremes():
    for dtype in (np.uint8, np.uint16):
        for value in (0, np.iinfo(dtype).max):
            assert (shrink(np.full((333, 444, 3), value, dtype), 100) == value).all()


def test_nothing_is_enlarged_and_what_fits_is_not_copied():
    pixels = draw(1, 50, 80)
    assert shrink(pixels, 50) is pixels and shrink(pixels, 999) is pixels


def test_aspect_is_kept_to_the_nearest_pixel():
    assert shrink(draw(1, 496, 768), 224).shape == (224, 347, 1)
    assert shrink(draw(1, 1, 999), 1).shape == (1, 999, 1)
