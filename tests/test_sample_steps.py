"""The steps of `sample` beyond crop, flip and colour, each against somebody else's."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from test_sample import LEVEL, RAW, picture, rows_for, torchvision, wrong
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as tv

from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import REST, scans
from foveate.kernels.sample.op import sample
from foveate.kernels.sample.params import move
from foveate.kernels.sample.reference import displacement, filters, positions

MODES = {"constant": "zeros", "edge": "border", "reflect": "reflection"}
SHAPES = [(90, 41, 1), (20, 73, 3), (64, 64, 3), (300, 14, 1)]


def tile_of(batch, n, row):
    """The window of image n, resized by torchvision to the box and turned over: (C,B,D)."""
    top, left, height, width = (value >> p.Q for value in row[:4].tolist())
    box = row[[p.BOX_HEIGHT, p.BOX_WIDTH]].tolist()
    tile = tv.resized_crop(picture(*batch, n), top, left, height, width, box, antialias=True)
    tile = tile.flip(2) if row[p.FLAGS] & p.MIRROR else tile
    return tile.flip(1) if row[p.FLAGS] & p.UPEND else tile


def read_by_torch(tile, row, size, border):
    """torch's bilinear read at our positions: (C,B,D) -> (C,S,S); FILL shifts the zeros."""
    u, v = positions(row.tolist(), size)
    corner = row[[p.BOX_LEFT, p.BOX_TOP]].double()
    place = torch.from_numpy(np.stack([u, v], axis=-1)).double() / p.ONE - corner
    sides = torch.tensor([tile.shape[2], tile.shape[1]]).double()
    fill = row[p.FILL].item() / p.ONE if border == "constant" else 0.0
    grid = (2 * place + 1) / sides - 1
    out = grid_sample(
        (tile - fill)[None], grid[None], padding_mode=MODES[border], align_corners=False
    )
    return out[0] + fill


@pytest.mark.parametrize("elastic", [0.0, 0.06])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("border", MODES)
def test_letterbox_affine_bend_and_border_are_grid_samples(border, turned, elastic):
    batch, size = scans(SHAPES * 2), 47
    wild = {"rotate": 180.0, "scale": (0.2, 1.3), "shear": 20.0, "translate": 0.5}
    augment = Augment(
        fit="letterbox", border=border, fill=0.3, flip=0.5, flip_vertical=0.5, elastic=elastic,
        **(wild if turned else {}),
    )  # fmt: skip
    rows = rows_for(augment, batch[2], size)
    ours = sample(*batch, rows, size=size, channels=3, **RAW[3])
    for n, row in enumerate(rows):
        theirs = read_by_torch(tile_of(batch, n, row), row, size, border)
        assert (ours[n] - theirs).abs().max() < LEVEL


def test_a_tall_image_is_centred_between_bars_of_fill():
    batch = scans([(80, 40, 1)])
    rows = rows_for(Augment(fit="letterbox", fill=0.25), batch[2], 16)
    out = sample(*batch, rows, size=16, channels=1, **RAW[1])[0, 0]
    assert (out[:, :4] == 0.25).all() and (out[:, 12:] == 0.25).all()
    assert (out[:, 4:12] != 0.25).any(dim=0).all()


@pytest.mark.parametrize(("degrees", "scale", "shear", "shift"), [
    (20.0, 1.0, (0.0, 0.0), (0.0, 0.0)), (-75.0, 1.3, (12.0, -7.0), (5.0, -9.0)),
    (0.0, 0.5, (0.0, 0.0), (3.0, 0.0)), (10.0, 1.0, (45.0, 0.0), (0.0, 11.0)),
])  # fmt: skip
def test_affine_is_torchvisions_whose_angle_goes_clockwise(degrees, scale, shear, shift):
    batch, size = scans([(64, 64, 1), (50, 70, 3)]), 64
    rows = rows_for(Augment(), batch[2], size).numpy()
    move(rows, size, degrees=degrees, scale=scale, shear=shear, shift=shift)
    ours = sample(*batch, torch.from_numpy(rows), size=size, channels=3, **RAW[3])
    how = {"interpolation": tv.InterpolationMode.BILINEAR}
    for n, row in enumerate(torch.from_numpy(rows)):
        theirs = tv.affine(tile_of(batch, n, row), -degrees, list(shift), scale, list(shear), **how)
        # Their grid is float32: a pixel whose neighbourhood straddles the edge may be cut.
        apart = (ours[n] - theirs).abs()
        assert apart.max() < 0.01 and apart.mean() < LEVEL


@pytest.mark.parametrize("channels", [1, 3])
def test_gamma_is_torchvisions(channels):
    batch = scans([(40, 50, channels)] * 8)
    rows = rows_for(Augment(gamma=4.0), batch[2], 32)
    ours = sample(*batch, rows, size=32, channels=channels, **RAW[channels])
    for n, row in enumerate(rows):
        tile = torchvision(picture(*batch, n), row, 32)
        theirs = tv.adjust_gamma(tile, row[p.GAMMA].item() / p.ONE)
        assert (ours[n] - theirs).abs().max() < LEVEL


def test_black_and_white_stay_black_and_white_under_any_gamma():
    pixels = torch.tensor([0, 255] * 32, dtype=torch.uint8)
    batch = (pixels, torch.zeros(5, dtype=torch.int64), torch.tensor([[8, 8, 1]] * 5).int())
    rows = rows_for(Augment(gamma=4.0), batch[2], 8)
    out = sample(*batch, rows, size=8, channels=1, **RAW[1])
    assert ((out - pixels.view(8, 8) / 255).abs() < 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_erased_rectangle_is_zero_and_the_rest_is_untouched(dtype):
    batch = scans([(40, 50, 1), (30, 30, 3)] * 10)
    rows = rows_for(Augment(erase=0.7), batch[2], 32)
    how = {"size": 32, "channels": 3, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.4, 0.3)}
    ours, whole = (
        sample(*batch, these, **how, dtype=dtype)
        for these in (rows, rows_for(Augment(), batch[2], 32))
    )
    assert 8 < (rows[:, p.ERASE_HEIGHT] > 0).sum() < 20
    for n, row in enumerate(rows.tolist()):
        top, left, height, width = row[p.ERASE_TOP : p.ERASE_WIDTH + 1]
        expected = whole[n].clone()
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(ours[n], expected)


def gray_field(count, side=8):
    pixels = torch.full((side * side,), 128, dtype=torch.uint8)
    shape = torch.tensor([[side, side, 1]] * count, dtype=torch.int32)
    return pixels, torch.zeros(count, dtype=torch.int64), shape


def test_noise_is_nearly_normal_of_the_deviation_that_was_drawn():
    batch = gray_field(6)
    rows = rows_for(Augment(noise=0.1), batch[2], 224)
    out = sample(*batch, rows, size=224, channels=1, **RAW[1]).double() - 128 / 255
    deviation = rows[:, p.NOISE].double() / p.ONE
    scaled = out.flatten(1) / deviation[:, None]
    assert scaled.mean(dim=1).abs().max() < 5 / 224
    assert (scaled.std(dim=1) - 1).abs().max() < 5 / 224 / 2**0.5
    assert (scaled.abs() < 1).double().mean(dim=1).sub(0.6827).abs().max() < 0.02
    assert torch.corrcoef(scaled).fill_diagonal_(0).abs().max() < 5 / 224
    assert torch.corrcoef(torch.stack([scaled[0, 1:], scaled[0, :-1]]))[0, 1].abs() < 5 / 224


def test_noise_and_the_rest_know_nothing_of_batch_and_threads():
    batch = scans([(40, 61, 1), (90, 33, 3), (1, 7, 1), (64, 64, 3)] * 5)
    rows = rows_for(REST, batch[2], 40)
    how = {"size": 40, "channels": 3, **RAW[3]}
    whole = sample(*batch, rows, threads=1, **how)
    for threads in (2, 5):
        assert torch.equal(sample(*batch, rows, threads=threads, **how), whole)
    mixed = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    part = sample(batch[0], batch[1][mixed], batch[2][mixed], rows[mixed], threads=2, **how)
    assert torch.equal(part, whole[mixed])


def test_blur_is_a_dense_triangle_of_that_half_width():
    batch, size = scans([(70, 90, 1), (33, 20, 3)]), 30
    rows = rows_for(Augment(), batch[2], size)
    rows[:, p.BLUR] = torch.tensor([2.5, 16.0]).mul(p.ONE).int()
    ours = sample(*batch, rows, size=size, channels=3, **RAW[3])
    for n, (height, width, _) in enumerate(batch[2].tolist()):
        dense = []
        for side in (height, width):
            shrink = side / size
            support = max(1.0, shrink) + rows[n, p.BLUR].item() / p.ONE * shrink
            centre = (torch.arange(size).double() + 0.5) * shrink
            apart = (torch.arange(side).double() + 0.5 - centre[:, None]).abs()
            weight = (1 - apart / support).clamp(min=0)
            dense.append(weight / weight.sum(dim=1, keepdim=True))
        theirs = dense[0] @ picture(*batch, n) @ dense[1].T
        assert (ours[n] - theirs).abs().max() < 4 * LEVEL  # centres and support are Q16


def test_positions_are_the_references_bit_for_bit():
    numba = pytest.importorskip("numba")
    turn = importlib.import_module("foveate.kernels.sample.turn")
    bare = importlib.import_module("foveate.kernels.sample.lanes").bare

    @numba.njit
    def fill(row, y, left, spline, u, v):
        size = spline.shape[1]
        turn.positions(bare(row), y, left, bare(spline), size, bare(u), bare(v), len(u))

    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 33, 224):
        spline = turn.splines(size)
        rows = draw.integers(-(1 << 31), 1 << 31, (6, p.COLUMNS), dtype=np.int64).astype(np.int32)
        for row, flags in zip(rows, (0, p.AFFINE, p.BENT, *[p.AFFINE | p.BENT] * 3), strict=True):
            row[p.FLAGS], left = flags, int(draw.integers(size))
            u, v = np.empty((2, size - left), np.int64)
            theirs = positions(row.tolist(), size)
            for y in range(size):
                fill(row, y, left, spline, u, v)
                assert np.array_equal(u, theirs[0][y, left:])
                assert np.array_equal(v, theirs[1][y, left:])
    assert np.abs(displacement(rows[-1].tolist(), 224)[0]).max() > p.ONE


def test_weights_are_the_references_and_zero_where_an_output_has_fewer():
    taps = pytest.importorskip("foveate.kernels.sample.taps")
    for length, size, blur, flip in ((700, 30, 0, 1), (9, 61, 3, 0), (50, 1, 1, 0), (40, 8, 0, 0)):
        length_q, blur_q = length * p.ONE, blur * p.ONE
        lo, count, weight = taps.table(length_q, size, blur_q)
        weight[:] = np.nan
        most = taps.fill(0, length_q, length, flip, blur_q, lo, count, weight)
        assert most == count.max() <= len(weight)
        dense = filters(0, length_q, length, size, blur_q)[:: -1 if flip else 1]
        found = np.zeros((size, length + most))  # an output may read past the last pixel by 0
        for o in range(size):
            found[o, lo[o] : lo[o] + most] = weight[:most, o]
        assert np.abs(found[:, :length] - dense).max() < 1e-6 and not found[:, length:].any()


def test_four_parts_fill_the_quarters_and_leave_uncovered_pixels_black():
    batch = scans([(20, 30, 1), (30, 20, 3), (9, 9, 1), (50, 50, 3)])
    rows = rows_for(Augment(), batch[2], 16)
    rows[:, p.FLAGS] |= p.KEEP
    rows[:, p.BOX_TOP] = torch.tensor([0, 0, 8, 8])
    rows[:, p.BOX_LEFT] = torch.tensor([0, 8, 0, 8])
    rows[:, [p.BOX_HEIGHT, p.BOX_WIDTH]] = 8
    rows[3, p.BOX_WIDTH] = 5
    how = {"channels": 3, **RAW[3]}
    out = torch.full((1, 3, 16, 16), 9.0).to(memory_format=torch.channels_last)
    sample(*batch, rows, size=16, parts=4, out=out, **how)
    alone = sample(*batch, rows_for(Augment(), batch[2], 8), size=8, **how)
    for n, (top, left) in enumerate([(0, 0), (0, 8), (8, 0)]):
        assert torch.equal(out[0, :, top : top + 8, left : left + 8], alone[n])
    assert (out[0, :, 8:, 13:] == 0).all()
    rows[0, p.FLAGS] &= ~p.KEEP
    rows[:, p.FILL] = p.ONE // 2
    painted = sample(*batch, rows, size=16, parts=4, **how)
    assert (painted[0, :, 8:, 13:] == 0.5).all()  # the first row's FILL


def test_a_table_gives_the_light_of_each_raw_level():
    batch = scans([(40, 50, 1), (33, 44, 3)], torch.uint16)
    rows = rows_for(dataclasses.replace(REST, noise=0.0), batch[2], 24)
    straight = torch.arange(65536, dtype=torch.float64).div(65535).float()
    how = {"size": 24, "channels": 3, **RAW[3]}
    plain, same = (sample(*batch, rows, table=table, **how) for table in (None, straight))
    assert (plain - same).abs().max() < 1e-6
    turned = sample(*batch, rows_for(Augment(), batch[2], 24), table=1 - straight, **how)
    level = sample(*batch, rows_for(Augment(), batch[2], 24), **how)
    assert (turned + level - 1).abs().max() < 1e-6


def put(column, value):
    def change(call):
        params = call["params"].clone()
        params[0, column] = value
        return call | {"params": params}

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        wrong("parts", lambda call: call | {"parts": 2}),
        wrong("parts", lambda call: call | {"parts": 0}),
        wrong("table", lambda call: call | {"table": torch.zeros(255)}),
        wrong("table", lambda call: call | {"table": torch.zeros(256, dtype=torch.float64)}),
        wrong("table", lambda call: call | {"table": torch.full((256,), float("nan"))}),
        wrong("table", lambda call: call | {"table": torch.full((256,), 1.5)}),
        wrong("a box", put(p.BOX_TOP, 1)),
        wrong("a box", put(p.BOX_LEFT, -1)),
        wrong("a box", put(p.BOX_WIDTH, 0)),
        wrong("an erased rectangle", put(p.ERASE_WIDTH, 9)),
        wrong("an erased rectangle", put(p.ERASE_HEIGHT, -1)),
        wrong("blur", put(p.BLUR, -1)),
        wrong("noise", put(p.NOISE, -1)),
        wrong("gamma", put(p.GAMMA, 0)),
    ],
)
def test_a_wrong_row_or_table_is_refused_by_name(name, change):
    pixels, start, shape = scans([(10, 20, 1), (20, 10, 1), (5, 5, 1)])
    params = rows_for(Augment(), shape, 8)
    call = {"pixels": pixels, "start": start, "shape": shape, "params": params}
    call |= {"size": 8, "channels": 3, **RAW[3]}
    sample(**call)
    with pytest.raises(ValueError, match=name):
        sample(**change(call))
