"""Stain jitter is what scikit-image's unmixing and mixing would give, as one matrix and a shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.params import plain, resolve
from foveate.kernels.sample.reference import reference, stain
from foveate.kernels.stain import DENSITY, MIXED, columns

LOWEST = 1e-6  # scikit-image's darkest light; its density is in units of -log(LOWEST)


def rows_for(augment, count, channels=3):
    shape, index = np.full((count, 3), channels), np.arange(count)
    return resolve(augment, shape, 3, seed=4, epoch=index * 0, index=index)


def separate_stains(rgb, mixed):
    """skimage.color.separate_stains: (...,3) light -> (...,3) amounts."""
    density = np.log(np.maximum(rgb, LOWEST)) / np.log(LOWEST)
    return np.maximum(density @ np.linalg.inv(mixed), 0)


def combine_stains(stains, mixed):
    """skimage.color.combine_stains: (...,3) amounts -> (...,3) light."""
    return np.clip(np.exp((stains * np.log(LOWEST)) @ mixed), 0, 1)


def tissue(seed=0):
    """(64,64,3) light of three stains whose amounts are all above 0, none darker than 1/256."""
    amounts = np.random.default_rng(seed).uniform(0.1, 1.2, (64, 64, 3))
    return np.exp(-amounts @ MIXED)


@pytest.mark.parametrize("seed", range(20))
def test_a_jitter_is_scikit_images_unmixing_scaling_and_mixing(seed):
    draw = np.random.default_rng(seed)
    factor, shift = draw.uniform(0.5, 1.5, (1, 3)), draw.uniform(-0.05, 0.05, (1, 3))
    row = [0] * p.COLUMNS
    row[p.STAIN : p.STAIN_SHIFT + 3] = columns(factor, shift)[0].tolist()
    light = tissue(seed)
    ours = stain(light, row)
    stains = separate_stains(light, MIXED) * factor + shift / -np.log(LOWEST)
    theirs = combine_stains(stains, MIXED)
    assert light.min() > p.DARKEST and np.abs(ours - light).max() > 0.02
    assert np.abs(ours - theirs).max() <= 0.011 / 255, (
        "the rounding to Q16, as the docstring has it"
    )


def test_the_stains_are_of_length_1_and_in_the_published_directions():
    assert np.allclose(np.linalg.norm(MIXED, axis=1), 1, atol=1e-15)
    assert np.allclose(np.cross(MIXED, DENSITY), 0, atol=1e-15)
    assert MIXED[0] == pytest.approx([0.651, 0.701, 0.290], abs=1e-3), "Ruifrok's table"


def test_factors_of_one_are_the_neutral_row_to_the_bit():
    neutral = plain(Augment(), np.array([[9, 9, 3]]), 8)[:, p.STAIN : p.STAIN_SHIFT + 3]
    assert (columns(np.ones((1, 3)), np.zeros((1, 3))) == neutral).all()


def test_one_stain_alone_changes_along_its_own_direction():
    for k in range(3):
        factor = np.ones((1, 3))
        factor[0, k] = 1.3
        row = [0] * p.COLUMNS
        row[p.STAIN : p.STAIN_SHIFT + 3] = columns(factor, np.zeros((1, 3)))[0].tolist()
        moved = np.log(tissue()) - np.log(stain(tissue(), row))
        assert np.abs(np.cross(moved, MIXED[k])).max() < 3e-4, "a few Q16 steps of density"
        assert moved.min() >= -3e-4 and moved.max() > 0.2


def test_factors_and_shifts_are_drawn_evenly_and_apart():
    rows = rows_for(Augment(stain=0.4), 20_000).astype(np.float64) / p.ONE
    matrix = rows[:, p.STAIN : p.STAIN_SHIFT].reshape(-1, 3, 3)
    unmixed = np.linalg.inv(MIXED.T) @ matrix @ MIXED.T
    factor = np.einsum("nkk->nk", unmixed)
    shift = rows[:, p.STAIN_SHIFT : p.STAIN_SHIFT + 3] @ np.linalg.inv(MIXED)
    assert np.abs(unmixed - factor[:, None] * np.eye(3)).max() < 1e-3
    for drawn, middle, reach in ((factor, 1, 0.4), (shift, 0, 0.04)):
        assert np.abs(drawn - middle).max() <= reach + 1e-4
        assert np.abs(drawn.mean(0) - middle).max() < 0.02 * reach  # 4.9 deviations
        assert np.abs(drawn.std(0) * 3**0.5 / reach - 1).max() < 0.02
    every = np.corrcoef(np.concatenate([factor, shift], axis=1).T) - np.eye(6)
    assert np.abs(every).max() < 0.035  # 5 deviations


def test_a_chance_leaves_the_others_alone_and_no_other_draw_moves():
    rows = rows_for(Augment(stain=0.4, stain_chance=0.3, flip=0.5), 4000)
    plainly = rows_for(Augment(flip=0.5), 4000)
    stained = (rows[:, p.FLAGS] & p.STAINED) > 0
    assert abs(stained.mean() - 0.3) < 0.03
    assert (rows[~stained] == plainly[~stained]).all()
    others = [c for c in range(p.COLUMNS) if c != p.FLAGS and not p.STAIN <= c < p.STAIN_SHIFT + 3]
    assert (rows[:, others] == plainly[:, others]).all()
    assert (rows[:, p.FLAGS] & ~p.STAINED == plainly[:, p.FLAGS]).all()


def test_gray_images_have_no_stain():
    pixels = torch.arange(9, dtype=torch.uint8) * 20
    start, shape = torch.zeros(1, dtype=torch.int64), torch.tensor([[3, 3, 1]], dtype=torch.int32)
    settings = {"size": 3, "channels": 1, "mean": (0.0,), "std": (1.0,)}
    rows = [torch.from_numpy(rows_for(Augment(stain=a), 1, 3)) for a in (0.0, 0.9)]
    one, other = (reference(pixels, start, shape, row, **settings) for row in rows)
    assert torch.equal(one, other)
