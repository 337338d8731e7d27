"""`sample` is torchvision's chain, on any image, from parameters that only the sample decides."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import EVERYTHING, scans
from foveate.kernels.sample.op import sample, warm
from foveate.kernels.sample.params import at_level, choose_level, plain, resolve, rotate
from foveate.kernels.sample.reference import filters, reference, taps

LEVEL = 0.01 / 255  # the agreement with torchvision's float chain, of one 8-bit level
RAW = {1: {"mean": (0.0,), "std": (1.0,)}, 3: {"mean": (0.0,) * 3, "std": (1.0,) * 3}}
SOURCES = {
    "gray 496x512": [(496, 512, 1)],
    "gray 496x768": [(496, 768, 1)],
    "RGB 512x512": [(512, 512, 3)],
    "one pixel wide": [(300, 1, 1), (1, 300, 1), (1, 1, 1), (1, 40, 3), (40, 1, 3)],
    "upsampled": [(50, 61, 1), (31, 20, 3)],
}


def rows_for(augment, shape, size, seed=1, epoch=0, index=None):
    index = np.arange(len(shape)) if index is None else np.asarray(index)
    rows = resolve(augment, shape, size, seed=seed, epoch=np.full(len(index), epoch), index=index)
    return torch.from_numpy(rows)


def picture(pixels, start, shape, n):
    """Image n as torchvision wants it: (C,H,W) float64 in [0, 1]."""
    height, width, depth = shape[n].tolist()
    flat = pixels[int(start[n]) : int(start[n]) + height * width * depth]
    image = flat.view(height, width, depth).permute(2, 0, 1)
    return image.double() / torch.iinfo(pixels.dtype).max


def torchvision(image, row, size, degrees=0.0):
    """(C,H,W) and one row of whole-pixel windows -> (C,S,S), float64."""
    top, left, height, width = (value >> p.Q for value in row[:4].tolist())
    out = tv.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    flags, (brightness, contrast, saturation) = int(row[p.FLAGS]), (row[11:14] / p.ONE).tolist()
    out = tv.horizontal_flip(out) if flags & p.MIRROR else out
    out = tv.vertical_flip(out) if flags & p.UPEND else out
    if flags & p.AFFINE:
        out = tv.rotate(out, degrees, tv.InterpolationMode.BILINEAR)
    if flags & p.COLOUR:
        out = tv.adjust_brightness(out, brightness)
        out = tv.adjust_contrast(out, contrast)
        out = tv.adjust_saturation(out, saturation)
    return out


@pytest.mark.parametrize("size", [224, 33])
@pytest.mark.parametrize("source", SOURCES)
def test_crop_flip_and_colour_are_torchvisions(source, size):
    pixels, start, shape = scans(SOURCES[source] * 4)
    augment = dataclasses.replace(EVERYTHING, rotate=0.0)
    rows = rows_for(augment, shape, size)
    for channels in (1, 3):
        if channels == 1 and shape[:, 2].max() == 3:
            continue
        ours = sample(pixels, start, shape, rows, size=size, channels=channels, **RAW[channels])
        for n in range(len(start)):
            theirs = torchvision(picture(pixels, start, shape, n), rows[n], size)
            assert (ours[n] - theirs).abs().max() < LEVEL


def test_tiny_crops_and_16_bits_are_torchvisions():
    pixels, start, shape = scans([(120, 90, 1), (64, 200, 1)] * 4, torch.uint16)
    rows = rows_for(Augment(area=(0.0005, 0.01), ratio=(0.5, 2.0), flip=0.5), shape, 64)
    assert (rows[:, p.HEIGHT] >> p.Q).min() <= 3
    ours = sample(pixels, start, shape, rows, size=64, channels=1, **RAW[1])
    for n in range(len(start)):
        theirs = torchvision(picture(pixels, start, shape, n), rows[n], 64)
        assert (ours[n] - theirs).abs().max() < LEVEL


@pytest.mark.parametrize("degrees", [-170.0, -90.0, -15.0, -0.3, 0.0, 7.7, 45.0, 90.0, 180.0])
@pytest.mark.parametrize("source", ["gray 496x512", "RGB 512x512", "one pixel wide"])
def test_rotation_is_torchvisions_to_the_rounding_of_its_matrix(source, degrees):
    pixels, start, shape = scans(SOURCES[source])
    rows = rows_for(Augment(flip=0.5), shape, 64).numpy()
    rotate(rows, degrees, 64)
    rows = torch.from_numpy(rows)
    ours = sample(pixels, start, shape, rows, size=64, channels=3, **RAW[3])
    for n in range(len(start)):
        theirs = torchvision(picture(pixels, start, shape, n), rows[n], 64, degrees)
        off_grid = 64 / 2 * 2**-16 * 2 * steepest(theirs)  # pixels times levels per pixel
        assert (ours[n] - theirs).abs().max() < LEVEL + off_grid


def steepest(image):
    edged = torch.nn.functional.pad(image, (1, 1, 1, 1))
    return max(edged.diff(dim=1).abs().max(), edged.diff(dim=2).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
def test_any_affine_is_grid_sample_with_zeros_outside(channels):
    pixels, start, shape = scans([(90, 70, channels)] * 6)
    size = 50
    rows = rows_for(Augment(), shape, size)
    draw = np.random.default_rng(0)
    rows[:, p.FLAGS] |= p.AFFINE
    rows[:, p.XX : p.Y0 + 1] = torch.from_numpy(draw.uniform(-1.5, 1.5, (6, 6)) * p.ONE).int()
    rows[:, [p.X0, p.Y0]] += 25 * p.ONE
    ours = sample(pixels, start, shape, rows, size=size, channels=channels, **RAW[channels])
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for n, row in enumerate(rows.tolist()):
        u = row[p.XX] * x + row[p.XY] * y + row[p.X0]
        v = row[p.YX] * x + row[p.YY] * y + row[p.Y0]
        grid = (torch.stack([u, v], dim=-1).double() / p.ONE * 2 + 1) / size - 1
        tile = torchvision(picture(pixels, start, shape, n), plain_row(rows[n]), size)
        theirs = torch.nn.functional.grid_sample(tile[None], grid[None], align_corners=False)
        assert (ours[n] - theirs[0]).abs().max() < LEVEL


def plain_row(row):
    row = row.clone()
    row[p.FLAGS] = 0
    return row


def test_normalising_and_gray_are_torchvisions():
    pixels, start, shape = scans([(60, 70, 3)] * 3)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    rows = rows_for(Augment(flip=0.5), shape, 32)
    ours = sample(pixels, start, shape, rows, size=32, channels=3, mean=mean, std=std)
    gray = sample(pixels, start, shape, rows, size=32, channels=1, mean=mean[:1], std=std[:1])
    for n in range(3):
        tile = torchvision(picture(pixels, start, shape, n), rows[n], 32)
        assert (ours[n] - tv.normalize(tile, mean, std)).abs().max() < LEVEL / 0.1
        tile = tv.rgb_to_grayscale(tile)
        assert (gray[n] - tv.normalize(tile, mean[:1], std[:1])).abs().max() < LEVEL / 0.2


def windows(count):
    """Windows, half of them moved so that a tap begins or ends within 1 of a Q16 pixel edge."""
    draw = np.random.default_rng(0)
    for n in range(count):
        source, size = int(draw.integers(1, 900)), int(draw.integers(1, 80))
        length = int(draw.integers(1, source * p.ONE + 1))
        first = int(draw.integers(0, source * p.ONE - length + 1))
        if n % 2:
            centre, _, _, support = taps(first, length, source, size)
            edge = centre[draw.integers(size)] + draw.choice([-1, 1]) * support[0] + p.ONE // 2
            first -= int(edge % p.ONE) + int(draw.integers(-1, 2))
            first = min(max(first, 0), source * p.ONE - length)
        yield first, length, source, size, int(draw.integers(2))


def test_the_back_end_picks_exactly_the_pixels_of_the_reference():
    cpu = pytest.importorskip("foveate.kernels.sample.taps")
    for first, length, source, size, flip in windows(600):
        lo, count, weight = cpu.table(length, size, 0)
        cpu.fill(np.int32(first), np.int32(length), source, flip, 0, lo, count, weight)
        _, low, high, _ = taps(first, length, source, size)
        order = slice(None, None, -1 if flip else 1)
        assert np.array_equal(lo, low[order]) and np.array_equal(count, (high - low)[order])
        dense = filters(first, length, source, size)[order]
        for o in range(size):
            theirs = dense[o, int(lo[o]) : int(lo[o] + count[o])]
            assert np.abs(weight[: len(theirs), o] - theirs).max() < 1e-6  # float32 of a share


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_neither_batch_nor_threads_change_a_bit(dtype):
    pixels, start, shape = scans([(40, 61, 1), (90, 33, 3), (1, 7, 1), (64, 64, 3)] * 5)
    rows = rows_for(EVERYTHING, shape, 40)
    how = {"size": 40, "channels": 3, "dtype": dtype, **RAW[3]}
    whole = sample(pixels, start, shape, rows, threads=1, **how)
    for threads in (2, 3, 8):
        assert torch.equal(sample(pixels, start, shape, rows, threads=threads, **how), whole)
    mixed = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    part = sample(pixels, start[mixed], shape[mixed], rows[mixed], threads=2, **how)
    assert torch.equal(part, whole[mixed])
    alone = sample(pixels, start[7:8], shape[7:8], rows[7:8], **how)
    assert torch.equal(alone, whole[7:8])


@pytest.mark.parametrize("size", [64, 65])
def test_a_batch_too_large_for_the_caches_has_the_same_bits(size):
    cpu = importlib.import_module("foveate.kernels.sample.cpu")
    pixels, start, shape = scans([(40, 61, 1), (90, 33, 3), (64, 64, 3)] * 32)
    rows = rows_for(Augment(area=(0.3, 1.0), brightness=0.2, contrast=0.2), shape, size)
    how = {"size": size, "channels": 3, **RAW[3]}
    whole = sample(pixels, start, shape, rows, threads=2, **how)
    assert 4 * whole.numel() >= cpu.STREAMED and cpu._can_stream(whole) == (size == 64)
    for n in range(len(start)):
        one = slice(n, n + 1)
        alone = sample(pixels, start[one], shape[one], rows[one], **how)
        assert not cpu._can_stream(alone) and torch.equal(alone, whole[one])


def test_double_output_holds_the_single_result():
    pixels, start, shape = scans([(40, 61, 1)] * 2)
    args = (pixels, start, shape, rows_for(EVERYTHING, shape, 24))
    single, double = (
        sample(*args, size=24, channels=3, dtype=dtype, **RAW[3])
        for dtype in (torch.float32, torch.float64)
    )
    assert double.dtype == torch.float64 and torch.equal(single.double(), double)


def test_output_is_channels_last_and_can_be_given():
    pixels, start, shape = scans([(40, 61, 1)] * 4)
    args = (pixels, start, shape, rows_for(Augment(), shape, 16))
    ours = sample(*args, size=16, channels=3, **RAW[3])
    assert ours.is_contiguous(memory_format=torch.channels_last)
    out = torch.full((4, 3, 16, 16), 9.0).to(memory_format=torch.channels_last)
    assert sample(*args, size=16, channels=3, out=out, **RAW[3]) is out
    assert torch.equal(out, ours)


def floats():
    """Every float16 and bfloat16, their neighbours and midpoints, and a million random floats."""
    bits = torch.arange(1 << 16, dtype=torch.int32)
    half = bits.to(torch.int16).view(torch.float16).float()
    brain = (bits << 16).view(torch.float32)
    middle = (half.view(torch.int32) + 0x1000).view(torch.float32)
    spread = [half.view(torch.int32) + step for step in (-1, 1, 0xFFF, 0x1001)]
    near = [values.view(torch.float32) for values in spread]
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(-(1 << 31), (1 << 31) - 1, (1 << 20,), generator=draw, dtype=torch.int64)
    small = torch.rand(1 << 18, generator=draw) * 2.0**-13
    return torch.cat([half, brain, middle, *near, noise.int().view(torch.float32), small])


@pytest.mark.parametrize(
    ("name", "dtype"), [("to_half", torch.float16), ("to_bfloat16", torch.bfloat16)]
)
def test_our_rounding_to_16_bits_is_torchs_bit_for_bit(name, dtype):
    store = pytest.importorskip("foveate.kernels.sample.store")
    value = floats()
    bits = np.empty(len(value), np.uint16)
    getattr(store, name)(value.clone().numpy(), bits)
    ours, theirs = torch.from_numpy(bits).view(torch.int16), value.to(dtype)
    nan = value.isnan()
    assert ours.view(dtype)[nan].isnan().all()
    assert torch.equal(ours[~nan], theirs.view(torch.int16)[~nan])


def test_all_65536_halves_come_back_unchanged():
    store = pytest.importorskip("foveate.kernels.sample.store")
    half = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    half = half[~half.isnan()]
    bits = np.empty(len(half), np.uint16)
    store.to_half(half.float().numpy(), bits)
    assert torch.equal(torch.from_numpy(bits).view(torch.int16), half.view(torch.int16))


@pytest.mark.parametrize(
    ("side", "levels", "expected"),
    [(447, 9, 0), (448, 9, 0), (895, 9, 0), (896, 9, 1), (1792, 9, 2), (1792, 2, 1), (20, 1, 0),
     (32767, 9, 6)],
)  # fmt: skip
def test_the_level_read_is_the_coarsest_that_still_shrinks_by_two(side, levels, expected):
    rows = plain(Augment(), np.array([[side, side + 1, 1]]).clip(max=32767), 224)
    assert choose_level(rows, np.array([levels])).tolist() == [expected]
    small = at_level(rows, np.array([expected]))
    assert small[0, p.HEIGHT] == side * p.ONE >> expected
    assert np.array_equal(small[0, 4:], rows[0, 4:])


def test_a_mip_level_gives_nearly_the_same_picture():
    # A smooth picture: for noise the second box filter is what is lost.
    y, x = np.mgrid[:512, :640]
    image = (127 + 60 * np.sin(x / 25) + 60 * np.cos(y / 18)).astype(np.uint8)
    half = image.reshape(256, 2, 320, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    shape = torch.tensor([[512, 640, 1]], dtype=torch.int32)
    rows = rows_for(Augment(area=(0.7, 0.9), flip=0.5), shape, 64)
    level = choose_level(rows.numpy(), np.array([3]))
    assert level.tolist() == [1]
    small = torch.from_numpy(at_level(rows.numpy(), level))
    start = torch.zeros(1, dtype=torch.int64)
    how = {"size": 64, "channels": 1, **RAW[1]}
    full = sample(torch.from_numpy(image.ravel()), start, shape, rows, **how)
    less = sample(torch.from_numpy(half.ravel()), start, shape // 2 + shape % 2, small, **how)
    assert (full - less).abs().max() < 1.5 / 255


@pytest.mark.parametrize(
    ("field", "value"),
    [("area", (0.0, 1.0)), ("area", (0.5, 0.2)), ("area", (0.5, 1.5)), ("area", 0.5),
     ("ratio", (0.0, 1.0)), ("ratio", (2.0, 1.0)), ("ratio", (1.0, float("inf"))), ("flip", 1.1),
     ("flip", True), ("flip_vertical", -0.1), ("rotate", 181), ("rotate", float("nan")),
     ("brightness", -0.1), ("contrast", "much"), ("saturation", 17), ("fit", "stretch")],
)  # fmt: skip
def test_an_impossible_range_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be"):
        Augment(**{field: value})


def test_sides_and_sizes_that_do_not_fit_q16_are_refused():
    with pytest.raises(ValueError, match="sides must be 1 to 32767"):
        plain(Augment(), np.array([[32768, 10, 1]]), 8)
    with pytest.raises(ValueError, match="sides must be 1 to 32767"):
        plain(Augment(), np.array([[10, 0, 1]]), 8)
    with pytest.raises(ValueError, match="size must be 1 to 16383"):
        plain(Augment(), np.array([[10, 10, 1]]), 0)
    with pytest.raises(ValueError, match="index and epoch must be"):
        resolve(Augment(), np.ones((2, 3), int), 8, seed=1, epoch=[0], index=[0])


def test_wide_sources_use_every_bit_of_q16():
    pixels, start, shape = scans([(2, 32767, 1), (32767, 2, 1)])
    rows = rows_for(Augment(flip=0.5), shape, 16)
    args, how = (pixels, start, shape, rows), {"size": 16, "channels": 1, **RAW[1]}
    assert (sample(*args, **how) - reference(*args, **how)).abs().max() < LEVEL


def wrong(name, change):
    return pytest.param(name, change, id=name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        wrong("pixels", lambda call: call | {"pixels": call["pixels"].float()}),
        wrong("pixels", lambda call: call | {"pixels": call["pixels"][:-1]}),
        wrong("pixels", lambda call: call | {"pixels": call["pixels"][None]}),
        wrong("start", lambda call: call | {"start": call["start"].int()}),
        wrong("start", lambda call: call | {"start": call["start"] - 1}),
        wrong("shape", lambda call: call | {"shape": call["shape"].long()}),
        wrong("shape", lambda call: call | {"shape": call["shape"] * 0 + 2}),
        wrong("shape", lambda call: call | {"shape": call["shape"].t().contiguous().t()}),
        wrong("params", lambda call: call | {"params": call["params"][:1]}),
        wrong("window", lambda call: call | {"params": call["params"] + 2 * p.ONE}),
        wrong("channels", lambda call: call | {"channels": 2}),
        wrong("mean", lambda call: call | {"mean": (0.5,)}),
        wrong("std", lambda call: call | {"std": (0.5, 0.0, 0.5)}),
        wrong("dtype", lambda call: call | {"dtype": torch.int8}),
        wrong("out", lambda call: call | {"out": torch.empty(2, 3, 8, 8)}),
        wrong("out", lambda call: call | {"out": torch.empty(2, 8, 9, 3).permute(0, 3, 1, 2)}),
        wrong("size", lambda call: call | {"size": 0}),
        wrong("threads", lambda call: call | {"threads": 0}),
    ],
)
def test_a_wrong_argument_is_refused_by_name(name, change):
    pixels, start, shape = scans([(10, 20, 1), (20, 10, 1)])
    params = rows_for(Augment(), shape, 8)
    call = {"pixels": pixels, "start": start, "shape": shape, "params": params}
    call |= {"size": 8, "channels": 3, **RAW[3]}
    sample(**call)
    with pytest.raises(ValueError, match=name):
        sample(**change(call))


def test_an_empty_batch_is_empty():
    none = torch.empty(0, dtype=torch.int64)
    rows = torch.empty(0, p.COLUMNS, dtype=torch.int32)
    shape = torch.empty(0, 3, dtype=torch.int32)
    out = sample(torch.empty(0, dtype=torch.uint8), none, shape, rows, size=8, channels=1, **RAW[1])
    assert out.shape == (0, 1, 8, 8)


def test_one_compilation_serves_every_size_channel_count_and_output():
    cpu = pytest.importorskip("foveate.kernels.sample.cpu")
    warm(torch.uint8)
    warm(torch.uint16)
    before = len(cpu._range.signatures)
    pixels, start, shape = scans([(20, 30, 1), (10, 9, 3)])
    for channels in (1, 3):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            rows = rows_for(EVERYTHING, shape, 7 + channels)
            how = {"size": 7 + channels, "channels": channels, "dtype": dtype, **RAW[channels]}
            sample(pixels, start, shape, rows, **how)
    assert len(cpu._range.signatures) == before == 2
