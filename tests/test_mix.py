"""MixUp and CutMix: who, how much and where, and the batch that comes of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from foveate.kernels import draws
from foveate.kernels.mix.op import MIX, examples, mix
from foveate.kernels.mix.pair import beta, partners, settle
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.params import resolve

SHAPES = (0.1, 0.2, 1.0, 8.0)


def rows_for(augment, count, size=32, seed=1):
    shape, index = np.full((count, 3), 40), np.arange(count)
    return resolve(augment, shape, size, seed=seed, epoch=index * 0, index=index)


def exact_quantiles(a, chance):
    """Of Beta(a, a), a whole number or below 1, by ways that share nothing with `beta`."""
    if a < 1:  # the midpoint rule in x^a, in which the density is finite at 0
        nodes = 400_000
        t = (np.arange(nodes) + 0.5) / nodes * 0.5**a
        total = np.cumsum((1 - t ** (1 / a)) ** (a - 1))
        return np.interp(chance, total / total[-1] / 2, t + 0.25 / nodes * 0.5**a) ** (1 / a)
    tries = 2 * int(a) - 1  # P(Beta(a, a) < x) = P(Binomial(2a - 1, x) >= a), bisected
    low, high = np.zeros_like(chance), np.ones_like(chance)
    for _ in range(60):
        x = (low + high) / 2
        hits = range(int(a), tries + 1)
        total = sum(math.comb(tries, k) * x**k * (1 - x) ** (tries - k) for k in hits)
        over = total > chance
        low, high = np.where(over, low, x), np.where(over, x, high)
    return low


@pytest.mark.parametrize("a", SHAPES)
def test_shares_have_the_moments_of_beta(a):
    uniform = (np.arange(1 << 20) + 0.5) / (1 << 20)
    share = beta(a, uniform)
    variance = 1 / (4 * (2 * a + 1))
    fourth = 3 * variance / (4 * (2 * a + 3))  # about the mean
    assert share.mean() == pytest.approx(0.5, abs=1e-6)
    assert share.var() == pytest.approx(variance, rel=1e-4)
    assert ((share - 0.5) ** 4).mean() == pytest.approx(fourth, rel=1e-4)


@pytest.mark.parametrize("a", SHAPES)
def test_shares_have_the_quantiles_of_beta(a):
    chance = np.array([0.001, 0.01, 0.1, 0.25, 0.4, 0.499])
    exact = exact_quantiles(a, chance)
    assert np.abs(beta(a, chance) - exact).max() < 2**-17
    assert np.abs(beta(a, 1 - chance) - (1 - exact)).max() < 2**-17
    assert beta(a, np.array([0.0, 0.5])).tolist() == [0, pytest.approx(0.5, abs=1e-9)]


def test_the_quantiles_of_known_distributions_are_exact():
    u = np.linspace(0, 0.999, 500)
    assert np.abs(beta(1.0, u) - u).max() < 1e-9, "Beta(1, 1) is even"
    arcsine = np.sin(math.pi * u / 2) ** 2
    assert np.abs(beta(0.5, u) - arcsine).max() < 2**-18


@pytest.mark.parametrize("a", [1e-300, 1e-6, 32.0])
def test_the_most_extreme_shares_are_numbers(a):
    share = beta(a, np.linspace(0, 1 - 2**-24, 999))
    assert np.isfinite(share).all() and share.min() >= 0 and share.max() <= 1
    assert (np.diff(share) >= 0).all()


def test_partners_are_all_others_evenly_and_never_oneself():
    count = 5
    seen = np.zeros(count, int)
    for seed in range(2000):
        step = rows_for(Augment(mixup=8.0), count, seed=seed)[:, p.PARTNER]
        assert (step > 0).all() and (step < count).all()
        seen += np.bincount(step, minlength=count)
    assert seen[0] == 0 and np.abs(seen[1:] / 2500 - 1).max() < 0.1  # 4.6 deviations of 2.2 %


def test_a_row_says_mixup_or_cutmix_or_neither():
    rows = rows_for(Augment(mixup=1.0, cutmix=1.0, mix_chance=0.5), 4000)
    mixed, cut = rows[:, p.PARTNER] > 0, rows[:, p.MIX_HEIGHT] > 0
    assert abs(mixed.mean() - 0.5) < 0.04 and abs(cut[mixed].mean() - 0.5) < 0.06
    assert not cut[~mixed].any() and (rows[~mixed, p.SHARE] == p.ONE).all()
    assert (rows[mixed, p.SHARE] < p.ONE).all()
    assert not rows_for(Augment(mixup=1.0), 400)[:, p.MIX_HEIGHT].any()
    only = rows_for(Augment(cutmix=1.0), 400)
    assert (only[only[:, p.PARTNER] > 0, p.MIX_HEIGHT] > 0).all()


@pytest.mark.parametrize("size", [1, 7, 224])
def test_the_share_of_cutmix_is_what_its_clipped_rectangle_leaves(size):
    rows = rows_for(Augment(cutmix=1.0), 3000, size).astype(np.int64)
    top, left, height, width = rows[:, p.MIX_TOP : p.MIX_WIDTH + 1].T
    assert min(top.min(), left.min()) >= 0
    assert (top + height).max() <= size and (left + width).max() <= size
    area = height * width / size**2
    assert np.abs(rows[:, p.SHARE] / p.ONE - (1 - area)).max() <= 0.5 / p.ONE
    if size == 224:
        whole = (top > 0) & (left > 0) & (top + height < size) & (left + width < size)
        drawn = draws.uniform(draws.words(1, np.arange(3000), 0, draws.MIX))[:, 2]
        assert np.abs(np.sqrt(1 - drawn[whole]) * size - height[whole]).max() <= 0.51
        assert whole.sum() > 400 and (~whole).sum() > 400, "some were cut off, some not"


def test_one_image_alone_is_mixed_with_nobody():
    rows = rows_for(Augment(mixup=1.0, cutmix=1.0), 1)
    assert rows[0, p.PARTNER] == 0 and rows[0, p.SHARE] == p.ONE
    assert len(rows_for(Augment(mixup=1.0), 0)) == 0


def test_mixing_changes_no_other_draw():
    plain = rows_for(Augment(flip=0.5, noise=0.1, erase=0.5), 50)
    mixed = rows_for(Augment(flip=0.5, noise=0.1, erase=0.5, mixup=1.0, cutmix=1.0), 50)
    others = [c for c in range(p.COLUMNS) if not p.PARTNER <= c <= p.MIX_WIDTH]
    assert (plain[:, others] == mixed[:, others]).all()


def test_nobody_is_mixed_with_padding():
    rows = torch.from_numpy(rows_for(Augment(mixup=1.0, cutmix=1.0), 8))
    valid = torch.tensor([True] * 5 + [False] * 3)
    settled = settle(rows, valid)
    lost = ~valid[partners(rows)]
    assert lost.any() and not lost.all()
    assert torch.equal(settled[~lost], rows[~lost])
    assert (settled[lost, p.SHARE] == p.ONE).all() and not settled[lost, p.PARTNER].any()
    assert not settled[lost][:, p.MIX_TOP : p.MIX_WIDTH + 1].any()
    assert torch.equal(settle(rows, torch.ones(8, dtype=torch.bool)), rows)


def test_a_blend_and_a_paste_are_what_one_would_write_by_hand():
    images = torch.arange(2 * 16.0).view(2, 4, 4, 1).permute(0, 3, 1, 2)
    rows = torch.zeros(2, p.COLUMNS, dtype=torch.int32)
    rows[:, p.PARTNER] = 1
    rows[0, p.SHARE] = p.ONE // 4
    rows[1, p.SHARE] = p.ONE * 14 // 16
    rows[1, p.MIX_TOP : p.MIX_WIDTH + 1] = torch.tensor([2, 1, 1, 2])
    out = mix(images, rows)
    assert torch.equal(out[0], images[0] / 4 + images[1] * 0.75)
    pasted = images[1].clone()
    pasted[0, 2, 1:3] = images[0, 0, 2, 1:3]
    assert torch.equal(out[1], pasted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_images_of_any_type_are_mixed_as_the_reference_says(example, dtype):
    images, rows = example.args[0].to(dtype), example.args[1]
    exact = MIX.reference(images, rows, dtype=torch.float64)
    ours = mix(images, rows)
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
    bound = torch.finfo(dtype).eps * exact.abs().max()
    assert (ours.double() - exact).abs().max() <= bound
    into = torch.empty_like(images)
    assert mix(images, rows, out=into) is into and torch.equal(into, ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_the_triton_kernel_agrees_where_it_is_interpreted(example, dtype, device):
    pytest.importorskip("triton")
    images, rows = (tensor.to(device) for tensor in example.args)
    exact = MIX.reference(*example.args, dtype=torch.float64)
    same = MIX.reference(*example.args, dtype=dtype)
    ours = MIX.run(images, rows, dtype=dtype, backend="triton").cpu()
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
    error, theirs = ((out.double() - exact).abs().max() for out in (ours, same))
    assert error <= 2 * theirs + torch.finfo(dtype).eps * exact.abs().max()


WRONG = [
    ({"images": torch.zeros(2, 3, 4, 4)}, "images must be stored channels-last"),
    ({"images": torch.zeros(2, 3, 4, 5)}, r"images must be \(N,K,S,S\)"),
    ({"images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}, "images must be .* of uint8"),
    ({"rows": torch.zeros(3, 96, dtype=torch.int32)}, r"rows must be \(2, 96\) of int32"),
    ({"rows": torch.zeros(2, 96)}, "rows must be .* of float32"),
    ({"dtype": torch.int8}, "dtype must be one of"),
    ({"out": torch.zeros(2, 1, 5, 5)}, "out must be"),
    ({p.PARTNER: 2}, "PARTNER in rows must be 0 to 1"),
    ({p.SHARE: p.ONE + 1}, "SHARE in rows must be 0 to 65536"),
    ({p.MIX_HEIGHT: 5}, "a rectangle in rows reaches outside"),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=[says for _, says in WRONG])
def test_bad_input_is_one_clear_error(change, says):
    images, rows = torch.zeros(2, 1, 4, 4), torch.zeros(2, 96, dtype=torch.int32)
    named = {key: value for key, value in change.items() if isinstance(key, str)}
    for column in change.keys() - named.keys():
        rows[0, column] = change[column]
    arguments = {"images": images, "rows": rows} | named
    with pytest.raises(ValueError, match=says):
        mix(arguments.pop("images"), arguments.pop("rows"), **arguments)


def test_the_images_themselves_are_no_place_for_the_result():
    images = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="out must not be the images"):
        mix(images, torch.zeros(2, 96, dtype=torch.int32), out=images)
