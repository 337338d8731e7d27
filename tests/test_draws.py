"""Random words and what is drawn with them: only (seed, sample, epoch, op) decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.kernels import draws
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import EVERYTHING
from foveate.kernels.sample.params import plain, resolve

FULL = 0xFFFFFFFF
RANDOM123 = [  # kat_vectors of Random123 1.14: philox4x32, 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), RANDOM123)
def test_philox_gives_the_published_words(counter, key, expected):
    assert draws.philox(counter, key).tolist() == list(expected)


def test_words_put_each_number_where_the_layout_says():
    seed, index, epoch = (3 << 32) | 5, (9 << 32) | 7, 11
    expected = draws.philox((7, epoch, draws.FLIP, 2 | 9 << 16), (5, 3))
    assert np.array_equal(draws.words(seed, [index], [epoch], draws.FLIP, 2), [expected])


def test_a_sample_draws_the_same_wherever_it_stands_in_the_batch():
    index = np.arange(1000)
    shuffled = np.random.default_rng(0).permutation(index)
    whole = draws.words(1, index, 4, draws.CROP)
    assert np.array_equal(draws.words(1, shuffled, 4, draws.CROP), whole[shuffled])
    assert np.array_equal(draws.words(1, 17, 4, draws.CROP), whole[17])


def test_seed_epoch_op_and_block_all_change_the_words():
    index = np.arange(256)
    cases = [
        (1, 0, 0, 0),
        (2, 0, 0, 0),
        (1, 1, 0, 0),
        (1, 0, 1, 0),
        (1, 0, 0, 1),
        (1 << 32, 0, 0, 0),
    ]
    rows = [draws.words(s, index, epoch, op, block).tobytes() for s, epoch, op, block in cases]
    assert len(set(rows)) == len(cases)


def test_uniforms_lie_in_zero_to_one_and_are_exact_in_float32():
    share = draws.uniform(draws.words(3, np.arange(20_000), 0, draws.ORDER))
    assert share.min() >= 0 and share.max() < 1
    assert np.array_equal(share.astype(np.float32).astype(np.float64), share)
    assert draws.uniform(np.array([FULL], np.uint32))[0] == 1 - 2.0**-24
    assert abs(share.mean() - 0.5) < 0.005  # 5 standard errors


def test_blocks_broadcast_against_samples():
    words = draws.words(1, np.arange(5)[:, None], 0, draws.CROP, np.arange(3))
    assert words.shape == (5, 3, 4)
    assert np.array_equal(words[:, 2], draws.words(1, np.arange(5), 0, draws.CROP, 2))


@pytest.mark.parametrize(
    "bad",
    [{"seed": -1}, {"seed": 1 << 63}, {"index": -1}, {"index": 1 << 48}, {"epoch": 1 << 32},
     {"block": 1 << 16}, {"index": 0.5}],
    ids=str,
)  # fmt: skip
def test_numbers_that_do_not_fit_the_counter_are_refused_by_name(bad):
    numbers = {"seed": 1, "index": 0, "epoch": 0, "op": 0, "block": 0} | bad
    with pytest.raises(ValueError, match=next(iter(bad))):
        draws.words(**numbers)


def rows_for(augment, shape, size, seed=1, epoch=0, index=None):
    index = np.arange(len(shape)) if index is None else np.asarray(index)
    rows = resolve(augment, shape, size, seed=seed, epoch=np.full(len(index), epoch), index=index)
    return torch.from_numpy(rows)


def test_draws_do_not_depend_on_the_batch():
    shape = np.array([[100 + n, 300 - n, 1] for n in range(50)])
    whole = rows_for(EVERYTHING, shape, 64)
    order = np.random.default_rng(0).permutation(50)
    assert torch.equal(rows_for(EVERYTHING, shape[order], 64, index=order), whole[order])
    assert torch.equal(rows_for(EVERYTHING, shape[7:8], 64, index=[7]), whole[7:8])
    assert not torch.equal(rows_for(EVERYTHING, shape, 64, epoch=1), whole)
    assert not torch.equal(rows_for(EVERYTHING, shape, 64, seed=2), whole)


def test_one_augmentation_does_not_shift_the_draws_of_another():
    shape = np.tile([200, 300, 1], (64, 1))
    whole = rows_for(EVERYTHING, shape, 64)
    alone = rows_for(Augment(flip=0.5), shape, 64)
    assert torch.equal(alone[:, p.FLAGS] & p.MIRROR, whole[:, p.FLAGS] & p.MIRROR)


def test_crops_are_whole_pixels_inside_the_fitted_window_and_in_range():
    shape = np.tile([200, 300, 1], (5000, 1))
    for fit, (top, left, height, width) in {
        "squash": (0, 0, 200, 300),
        "crop": (0, 50, 200, 200),
    }.items():
        augment = Augment(fit=fit, area=(0.2, 0.9), ratio=(0.8, 1.25))
        window = rows_for(augment, shape, 64)[:, :4].numpy()
        assert (window % p.ONE == 0).all()
        y, x, h, w = (window >> p.Q).T
        assert y.min() == top and (y + h).max() == top + height
        assert x.min() == left and (x + w).max() == left + width
        area, ratio = h * w / (height * width), (w / width) / (h / height)
        assert 0.19 < area.min() < 0.22 and 0.85 < area.max() < 0.92
        assert 0.78 < ratio.min() < 0.82 and 1.22 < ratio.max() < 1.28
        assert abs(np.log(ratio).mean()) < 0.01


def test_a_crop_that_never_fits_falls_back_to_the_largest_centred_one():
    shape = np.array([[100, 100, 1], [1, 1, 1]])
    wide = rows_for(Augment(area=(1.0, 1.0), ratio=(2.0, 2.0)), shape, 8)[:, :4] >> p.Q
    assert wide.tolist() == [[25, 0, 50, 100], [0, 0, 1, 1]]
    tall = rows_for(Augment(area=(1.0, 1.0), ratio=(0.5, 0.5)), shape, 8)[:, :4] >> p.Q
    assert tall.tolist() == [[0, 25, 100, 50], [0, 0, 1, 1]]


def test_without_ranges_the_window_is_the_fitted_one():
    shape = np.array([[496, 768, 1], [31, 30, 3]])
    assert torch.equal(rows_for(Augment(), shape, 8), torch.from_numpy(plain(Augment(), shape, 8)))
    square = rows_for(Augment(fit="crop"), shape, 8)[:, :4] / p.ONE
    assert square.tolist() == [[0, 136, 496, 496], [0, 0, 30, 30]]


def test_probabilities_and_factors_follow_their_ranges():
    shape = np.tile([20, 20, 1], (4000, 1))
    augment = Augment(flip=0.25, flip_vertical=1.0, rotate=30.0, brightness=0.5, contrast=2.0)
    rows = rows_for(augment, shape, 8).numpy()
    assert abs((rows[:, p.FLAGS] & p.MIRROR > 0).mean() - 0.25) < 0.035  # 5 standard errors
    assert (rows[:, p.FLAGS] & p.UPEND > 0).all()
    degrees = np.degrees(np.arctan2(rows[:, p.YX], rows[:, p.XX]))
    assert -30.01 < degrees.min() < -29 and 29 < degrees.max() < 30.01
    factors = rows[:, [p.BRIGHTNESS, p.CONTRAST, p.SATURATION]] / p.ONE
    assert 0.5 <= factors[:, 0].min() < 0.51 and 1.49 < factors[:, 0].max() <= 1.5
    assert 0 <= factors[:, 1].min() < 0.01 and 2.98 < factors[:, 1].max() <= 3
    assert (factors[:, 2] == 1).all()
