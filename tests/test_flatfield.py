"""Uneven light is divided out of phase contrast, as LIVECell's authors do; the rest stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.kernels.flatfield.correct import background_on_card, flatfield, reference

SHAPES = [(1, 1), (1, 40), (40, 1), (2, 3), (33, 70), (90, 31)]


def noise(shape, dtype, seed=0):
    most = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, most + 1, shape).astype(dtype)


def cells(height=260, width=352, seed=1):
    """(H,W) light around 0.5: grain and 60 cells of +-15 %, narrower than half a window."""
    draw = np.random.default_rng(seed)
    image = 0.5 + draw.normal(0, 0.01, (height, width))
    y, x = np.mgrid[:height, :width]
    for _ in range(60):
        at = draw.uniform((0, 0), (height, width))
        image[np.hypot(y - at[0], x - at[1]) < draw.uniform(3, 9)] += draw.choice([-0.075, 0.075])
    return image


def vignette(height=260, width=352):
    """(H,W) from 1 in the middle to 0.6 in the corners."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return 1 - 0.2 * (y**2 + x**2)


@pytest.mark.parametrize("side", [1, 3, 75])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_median_has_the_bits_of_the_reference(shape, dtype, side):
    for seed in range(3):
        image = noise(shape, dtype, seed) >> seed  # full, half and quarter contrast
        image += np.iinfo(dtype).max // 3 * (seed > 0)
        ours, exact = (f(image, side=side, halo=(0, 9)) for f in (flatfield, reference))
        assert ours.dtype == dtype and ours.shape == shape
        assert (ours == exact).all()


@pytest.mark.parametrize("side", [1, 5, 25])
def test_the_background_on_a_card_has_the_same_bits(side, device):
    from foveate.kernels.flatfield.cpu import slide

    levels = noise((2, 37, 22), np.uint8)
    exact = np.empty_like(levels)
    for image, stored in zip(levels, exact, strict=True):
        slide(image, side, stored)
    found = background_on_card(torch.from_numpy(levels).to(device), side).cpu().numpy()
    assert (found == exact).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_vignette_is_removed(dtype):
    """53 % between brightest and darkest becomes 7 %, and cells keep their contrast."""
    most = np.iinfo(dtype).max
    shaded = np.rint(cells() * vignette() * most).astype(dtype)
    flat = flatfield(shaded) / np.median(shaded) * 0.5
    before, after = blocks(shaded / most / cells()), blocks(flat / cells())
    assert before.max() / before.min() > 1.4
    assert after.max() / after.min() < 1.07
    off = np.abs(flat - cells())
    assert np.median(off) < 0.005 and off.mean() < 0.01


def blocks(light):
    """Medians of 20 x 25 pixels: the light without the grain."""
    return np.median(light[:260, :350].reshape(13, 20, 14, 25), axis=(1, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_constant_images_stay(shape, dtype):
    for value in (0, 1, 77, np.iinfo(dtype).max):
        image = np.full(shape, value, dtype)
        assert (flatfield(image) == image).all()


def test_to_a_level_of_128_it_is_what_the_authors_do():
    """Their formula with their truncations, on the same window: two levels at most apart."""
    image = np.rint(cells(60, 80) * vignette(60, 80) * 255).astype(np.uint8)
    scaled = np.minimum(image * (128.0 / np.median(image)), 255)
    edged = np.pad(scaled.astype(np.uint8), 10, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(edged, (21, 21))
    theirs = np.clip(scaled / np.median(windows, axis=(2, 3)) * 128, 70, 180).astype(np.uint8)
    ours = flatfield(image, side=21, level=128)
    assert np.abs(ours.astype(int) - theirs).max() <= 2
    assert ours.min() >= 70 and ours.max() <= 180


def test_images_of_a_batch_are_lit_each_by_itself():
    batch = np.stack([noise((20, 30), np.uint8, n) // (n + 1) for n in range(3)])
    together = flatfield(batch, side=9)
    assert all((together[n] == flatfield(batch[n], side=9)).all() for n in range(3))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pixels": np.zeros((2, 2))}, "pixels must be"),
        ({"pixels": np.zeros((0, 2), np.uint8)}, "pixels must be"),
        ({"side": 4}, "side must be an odd"),
        ({"side": 257}, "side must be an odd"),
        ({"level": 0}, "level must be above 0 and at most 255"),
        ({"halo": (1.1, 2)}, "halo must be"),
    ],
)
def test_bad_input_is_one_clear_error(settings, says):
    settings = {"pixels": np.zeros((4, 4), np.uint8)} | settings
    with pytest.raises(ValueError, match=says):
        flatfield(settings.pop("pixels"), **settings)
