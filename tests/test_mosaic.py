"""A mosaic: four images around a centre, each in its own quarter and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from foveate.dataloaders.order import Order
from foveate.kernels.mosaic import mosaic
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import scans
from foveate.kernels.sample.params import Drawn, at_level, choose_level, resolve, rotate
from foveate.kernels.sample.reference import reference

SIZE = 48
SHAPES = [(61, 47, 1), (33, 128, 1), (96, 96, 1), (140, 30, 1), (50, 50, 1), (7, 90, 1)]
RAW = {"size": SIZE, "channels": 1, "mean": (0.0,), "std": (1.0,)}


def compose(augment, count=5, seed=3, change=lambda rows: None):
    """(pixels, start, shape, rows) of `count` mosaics of six images, and which image is where."""
    pixels, start, shape = scans(SHAPES)
    samples, epochs = Order(seed, len(SHAPES)).at(0, count)
    others = Order(seed, len(SHAPES)).partners(samples, epochs)
    four = np.column_stack([samples, others]).ravel()
    rows = resolve(augment, shape[four], SIZE, seed=seed, epoch=epochs.repeat(4), index=four)
    change(rows)
    mosaic(augment, rows, SIZE, Drawn(seed, samples, epochs))
    return (pixels, start[four], shape[four], torch.from_numpy(rows)), four


def resized(args, r, height, width):
    """Row r's window as torchvision resizes it, (height,width) float64."""
    pixels, start, shape, rows = args
    h, w, _ = shape[r].tolist()
    image = pixels[int(start[r]) : int(start[r]) + h * w].view(1, h, w).double() / 255
    top, left, high, wide = (int(rows[r, c]) >> p.Q for c in (p.TOP, p.LEFT, p.HEIGHT, p.WIDTH))
    return tv.resized_crop(image, top, left, high, wide, [height, width], antialias=True)[0]


def box_of(row):
    return tuple(int(row[c]) for c in (p.BOX_TOP, p.BOX_LEFT, p.BOX_HEIGHT, p.BOX_WIDTH))


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
def test_each_part_is_torchvisions_resize_of_its_image_and_the_rest_is_fill(fit):
    args, _ = compose(Augment(fit=fit, fill=0.25))
    out = reference(*args, **RAW, parts=4)
    assert out.shape == (5, 1, SIZE, SIZE)
    covered = torch.zeros(5, SIZE, SIZE, dtype=torch.int64)
    for r, row in enumerate(args[3].tolist()):
        top, left, height, width = box_of(row)
        box = (r // 4, slice(top, top + height), slice(left, left + width))
        covered[box] += 1
        off = out[:, 0][box] - resized(args, r, height, width)
        assert off.abs().max() < 0.01 / 255
    assert covered.max() == 1, "parts do not overlap"
    assert (out[:, 0][covered == 0] == 0.25).all() and (covered == 0).any() == (fit == "letterbox")


def test_a_letterboxed_part_touches_the_centre_and_keeps_its_shape():
    args, _ = compose(Augment(fit="letterbox"), count=200)
    rows, shape = args[3].long(), args[2].long()
    top, left, height, width = rows[:, p.BOX_TOP : p.BOX_WIDTH + 1].view(-1, 4, 4).unbind(-1)
    assert (top + height)[:, 0].equal((top + height)[:, 1]) and top[:, 2].equal(top[:, 3])
    assert (top + height)[:, 0].equal(top[:, 2]) and (left + width)[:, 0].equal(left[:, 1])
    high, wide = height.flatten(), width.flatten()
    off = (high * shape[:, 1] - wide * shape[:, 0]).abs()
    alone = (high > 1) & (wide > 1)
    assert (off[alone] <= torch.maximum(shape[:, 0], shape[:, 1])[alone] / 2 + 1).all()


def test_a_cropped_part_fills_its_quarter_undistorted_from_the_middle_of_its_window():
    args, _ = compose(Augment(fit="crop"), count=50)
    rows, shape = args[3].numpy().astype(np.int64), args[2].numpy().astype(np.int64)
    box, window = rows[:, p.BOX_HEIGHT : p.BOX_WIDTH + 1], rows[:, p.HEIGHT : p.WIDTH + 1]
    assert (box[::4].sum(0) + box[3::4].sum(0) == SIZE * 50).all(), "quarters fill the output"
    stretch = window / box
    assert np.abs(stretch[:, 0] / stretch[:, 1] - 1).max() < 1e-4
    assert np.abs(2 * rows[:, :2] + window - shape[:, :2] * p.ONE).max() <= p.ONE + 1


def test_the_centre_is_anywhere_in_the_middle_half_and_depends_on_the_sample():
    args, _ = compose(Augment(), count=3000)
    corner = args[3][3::4, [p.BOX_TOP, p.BOX_LEFT]]
    assert corner.min() == SIZE // 4 and corner.max() == SIZE - SIZE // 4
    assert (corner.double().mean(0) - SIZE / 2).abs().max() < 0.6  # 4.5 deviations
    again, _ = compose(Augment(), count=1)
    assert torch.equal(again[3][:4], args[3][:4])


def test_a_turn_is_about_the_middle_of_each_part():
    """Half a turn is both flips, to the pixel: any other centre would push a part out."""
    turned, _ = compose(Augment(), change=lambda rows: rotate(rows, 180.0, SIZE))
    flipped, _ = compose(Augment(flip=1.0, flip_vertical=1.0))
    ours, theirs = (reference(*args, **RAW, parts=4) for args in (turned, flipped))
    assert (ours - theirs).abs().max() < 1e-12


def test_a_turned_part_keeps_its_middle_to_the_rounding_of_its_matrix():
    args, _ = compose(Augment(), change=lambda rows: rotate(rows, 30.0, SIZE))
    for row in args[3].tolist():
        top, left, height, width = box_of(row)
        x, y = left + (width - 1) / 2, top + (height - 1) / 2
        u = row[p.XX] * x + row[p.XY] * y + row[p.X0]
        v = row[p.YX] * x + row[p.YY] * y + row[p.Y0]
        assert abs(u / p.ONE - x) < 2**-15 and abs(v / p.ONE - y) < 2**-15


@pytest.mark.parametrize("border", ["edge", "reflect"])
def test_the_first_part_paints_fill_whatever_its_border(border):
    args, _ = compose(Augment(fit="letterbox", border=border, fill=0.5))
    plain, _ = compose(Augment(fit="letterbox", fill=0.5))
    ours, theirs = (reference(*a, **RAW, parts=4) for a in (args, plain))
    assert torch.equal(ours, theirs)


def test_a_mosaic_is_of_single_images_that_mix_with_nobody():
    args, _ = compose(Augment(mixup=1.0, cutmix=1.0))
    rows = args[3]
    assert not rows[:, p.PARTNER].any() and not rows[:, p.MIX_TOP : p.MIX_WIDTH + 1].any()
    assert (rows[:, p.SHARE] == p.ONE).all()
    keep = (rows[:, p.FLAGS] & p.KEEP) > 0
    assert keep.view(-1, 4).tolist() == [[False, True, True, True]] * 5


def test_small_parts_are_read_from_coarser_levels():
    rows = compose(Augment())[0][3].numpy()
    level = choose_level(rows, np.full(len(rows), 4))
    assert level.max() >= 1 and (at_level(rows, level)[:, p.BOX_TOP] == rows[:, p.BOX_TOP]).all()


def test_the_smallest_mosaic_has_a_pixel_for_each():
    pixels, start, shape = scans([(5, 9, 1)] * 4)
    rows = resolve(Augment(), shape, 2, seed=0, epoch=np.zeros(4, int), index=np.arange(4))
    mosaic(Augment(), rows, 2, Drawn(0, np.zeros(1, int), np.zeros(1, int)))
    out = reference(pixels, start, shape, torch.from_numpy(rows), **(RAW | {"size": 2}), parts=4)
    for n in range(4):
        image = pixels[n * 45 : n * 45 + 45].view(1, 5, 9).double() / 255
        exact = tv.resize(image, [1, 1], antialias=True).item()
        assert float(out.flatten()[n]) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "size", "says"), [(3, 8, "rows must be 4 for each of 1"), (4, 1, "size must be 2")]
)
def test_what_is_no_mosaic_is_refused(count, size, says):
    rows = np.zeros((count, p.COLUMNS), np.int32)
    with pytest.raises(ValueError, match=says):
        mosaic(Augment(), rows, size, Drawn(0, np.zeros(1, int), np.zeros(1, int)))
