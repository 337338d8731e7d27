"""Cuts by whole groups: nothing straddles, every class is everywhere, shares are met or said."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.split.shares import cut_groups

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of 200 to 2,000 images; groups of 1 to 40, some with two classes."""
    chance = np.random.default_rng(seed)
    groups = int(chance.integers(60, 300))
    size = np.minimum(1 + chance.geometric(0.15, groups), 40)
    group = np.repeat([f"p{n}" for n in range(groups)], size)
    own = chance.choice(3, groups, p=[0.6, 0.3, 0.1])
    own[:9] = np.arange(9) % 3  # three groups of each class at least
    label = np.repeat(own, size)
    mixed = chance.random(len(label)) < 0.05
    return np.where(mixed, (label + 1) % 3, label), group


@pytest.mark.parametrize("stratify", [True, False])
def test_no_group_is_in_two_parts_and_no_class_is_missing_from_one(stratify):
    for seed in range(60):
        label, group = draw(seed)
        cut = cut_groups(label, group, SHARES, stratify=stratify, seed=seed)
        for name in np.unique(group):
            assert len(set(cut.part[group == name])) == 1, seed
        assert (cut.counts > 0).all() and cut.counts.sum() == len(label)
        found = [np.bincount(label[cut.part == p], minlength=3) for p in SHARES]
        assert np.array_equal(cut.counts, found)


def test_stratified_shares_are_off_by_less_than_the_largest_group():
    for seed in range(60):
        label, group = draw(seed)
        cut = cut_groups(label, group, SHARES, seed=seed)
        assert cut.off <= cut.largest + 1e-9, seed


def test_single_images_are_cut_to_within_one_image():
    label = np.repeat([0, 1], [700, 300])
    cut = cut_groups(label, np.arange(1000).astype(str), SHARES)
    assert np.abs(cut.counts - np.outer([0.7, 0.15, 0.15], [700, 300])).max() <= 1


def test_the_order_of_images_does_not_matter_and_the_seed_does():
    label, group = draw(1)
    there = np.random.default_rng(2).permutation(len(label))
    cut = cut_groups(label, group, SHARES, seed=3)
    turned = cut_groups(label[there], group[there], SHARES, seed=3)
    assert np.array_equal(turned.part, cut.part[there])
    assert not np.array_equal(cut_groups(label, group, SHARES, seed=4).part, cut.part)


def test_a_class_with_too_few_groups_is_refused_by_name():
    label, group = (
        np.array([0] * 30 + [1] * 30),
        np.array([f"p{n}" for n in range(30)] + ["q"] * 30),
    )
    with pytest.raises(DataError, match="no image of class DRUSEN, which has 30 images in 1 group"):
        cut_groups(label, group, SHARES, names=("CNV", "DRUSEN"))
