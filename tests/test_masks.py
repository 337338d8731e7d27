"""Label maps and masks of single objects go where the picture goes, on every back end alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.dataloaders.annotations.rle import encode_mask
from foveate.dataloaders.annotations.shapes import fill_ring
from foveate.kernels import op as ops
from foveate.kernels.instances.op import draw_polygons, draw_runs, end_runs
from foveate.kernels.masks.op import sample_masks
from foveate.kernels.masks.reference import read_at
from foveate.kernels.points import move_points
from foveate.kernels.polygons import move_polygons
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.params import plain, resolve
from foveate.kernels.sample.reference import positions
from foveate.kernels.sample.reference import reference as image_reference

ROOT = Path(__file__).parent.parent
STRAIGHT = Augment(
    area=(0.4, 1.0), ratio=(0.75, 4 / 3), flip=0.5, flip_vertical=0.5, rotate=180.0,
    scale=(0.6, 1.6), shear=20.0, translate=0.15, fit="letterbox",
)  # fmt: skip
BENT = Augment(
    area=(0.4, 1.0), flip=0.5, flip_vertical=0.5, rotate=180.0, scale=(0.7, 1.2), shear=10.0,
    translate=0.1, elastic=0.06, fit="letterbox",
)  # fmt: skip
EXACT = [(op, call) for op in ops.load().values() if op.exact for call in op.examples()]
CARD = "cuda" if torch.cuda.is_available() else "cpu"


def rows_for(augment, sides, size, seed=1):
    shape = np.array([(height, width, 1) for height, width in sides])
    index = np.arange(len(shape))
    rows = resolve(augment, shape, size, seed=seed, epoch=index * 0, index=index)
    return torch.from_numpy(rows)


def lay(maps):
    """Arrays (H,W) -> what `sample_masks` takes."""
    sizes = [each.size for each in maps]
    start = torch.tensor([0, *np.cumsum(sizes)[:-1]], dtype=torch.int64)
    flat = torch.from_numpy(np.concatenate([each.ravel() for each in maps]))
    return flat, start, torch.tensor([each.shape for each in maps], dtype=torch.int32)


def ring_of(name, draw, height, width):
    """A rectangle, a disc or a star somewhere in the image: (n,2) x y."""
    centre = draw.uniform(0.35, 0.65, 2) * (width, height)
    reach = draw.uniform(0.2, 0.3) * min(height, width)
    corners = {"rectangle": 4, "disc": 60, "star": 14}[name]
    angle = (np.arange(corners) + 0.5) * 2 * np.pi / corners
    radius = np.where(np.arange(corners) % 2, 0.5 if name == "star" else 1.0, 1.0) * reach
    return centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def iou(one, other):
    return float((one & other).sum() / max(1, (one | other).sum()))


@pytest.mark.parametrize(("op", "example"), EXACT, ids=lambda case: case.name)
def test_the_card_draws_exactly_what_the_reference_does(op, example):
    pytest.importorskip("triton")
    args = [each.to(CARD) for each in example.args]
    ours = op.run(*args, backend="triton", **example.settings)
    assert torch.equal(ours.cpu(), op.reference(*example.args, **example.settings))


@pytest.mark.parametrize("op", {op.name: op for op, _ in EXACT}.values(), ids=lambda op: op.name)
def test_the_examples_show_something_and_leave_something_out(op):
    shown = [op.reference(*call.args, **call.settings) for call in op.examples()]
    varied = [len(each.unique()) > 1 for each in shown if each.numel() > 100]
    assert all(varied) and len(varied) >= 6


@pytest.mark.parametrize("augment", [STRAIGHT, BENT], ids=["straight", "bent"])
def test_masks_read_where_images_do(augment):
    y, x = np.mgrid[:40, :40].astype(np.int64) << p.Q
    for row in rows_for(augment, [(90, 70)] * 8, 40).tolist():
        for ours, theirs in zip(read_at(row, 40, x, y), positions(row, 40), strict=True):
            assert np.array_equal(ours, theirs)


def test_an_untouched_map_comes_back_as_it_is():
    draw = np.random.default_rng(0)
    for side in (1, 2, 33):
        image = draw.integers(0, 1 << 16, (side, side)).astype(np.uint16)
        rows = torch.from_numpy(plain(Augment(), np.array([[side, side, 1]]), side))
        same = sample_masks(*lay([image]), rows, size=side)
        assert np.array_equal(same[0].numpy(), image)
        rows[:, p.FLAGS] = p.MIRROR
        assert np.array_equal(
            sample_masks(*lay([image]), rows, size=side)[0].numpy(), image[:, ::-1]
        )
        rows[:, p.FLAGS] = p.UPEND
        assert np.array_equal(sample_masks(*lay([image]), rows, size=side)[0].numpy(), image[::-1])


@pytest.mark.parametrize(
    ("augment", "slack"), [(STRAIGHT, 0.01), (BENT, 0.1)], ids=["straight", "bent"]
)
def test_every_pixel_shown_lies_within_half_a_source_pixel_of_its_moved_centre(augment, slack):
    height, width, size, count = 90, 120, 64, 30
    every = np.arange(height * width, dtype=np.int32).reshape(height, width)
    rows = rows_for(augment, [(height, width)] * count, size)
    shown = sample_masks(*lay([every] * count), rows, size=size, outside=-1)
    image, y, x = (shown >= 0).nonzero().unbind(1)
    assert len(image) > 0.3 * shown.numel()
    label = shown[image, y, x].long()
    centre = torch.stack([label % width, label // width], dim=1) + 0.5
    centre = centre.double()
    here = move_points(centre, image, rows, size=size)
    step = [
        move_points(centre + torch.tensor(way), image, rows, size=size) - here
        for way in ([1.0, 0.0], [0.0, 1.0])
    ]
    off = torch.stack([x, y], dim=1) + 0.5 - here
    off = torch.linalg.solve(torch.stack(step, dim=2), off)  # in source pixels
    assert off.abs().max() < 0.5 + slack
    assert off.mean(dim=0).abs().max() < 0.01 + slack / 10


@pytest.mark.parametrize("name", ["rectangle", "disc", "star"])
@pytest.mark.parametrize("augment", [STRAIGHT, BENT], ids=["straight", "bent"])
def test_a_moved_outline_and_a_moved_mask_are_the_same_shape(augment, name):
    draw, size, sides = np.random.default_rng(3), 128, [(150, 200), (300, 180)] * 6
    count = len(sides)
    rings = [ring_of(name, draw, *each) for each in sides]
    maps = [
        fill_ring(r.ravel(), 0, 0, w, h).astype(np.uint8)
        for r, (h, w) in zip(rings, sides, strict=True)
    ]
    rows, image = rows_for(augment, sides, size), torch.arange(count)
    masks = sample_masks(*lay(maps), rows, size=size).bool()
    ends = torch.tensor([0, *np.cumsum([len(each) for each in rings])])
    moved, ends, area = move_polygons(
        torch.from_numpy(np.concatenate(rings)), ends, image, rows, size=size
    )
    whole = torch.tensor([[0.0, 0, size, size]]).repeat(count, 1)
    each = torch.arange(count + 1)
    shape = torch.tensor(sides, dtype=torch.int32)
    how = {"size": size, "side": size, "moved": True}
    drawn = draw_polygons(moved, ends, each, image, shape, rows, whole, **how).bool()
    assert min(iou(a, b) for a, b in zip(masks, drawn, strict=True)) > 0.95
    seen = masks.sum(dim=(1, 2))
    assert ((seen - area[:, 1]).abs() < 0.05 * area[:, 1]).all()
    if augment is STRAIGHT:
        assert (area[:, 1] <= area[:, 0] + 1e-6).all()


def test_the_mask_covers_what_the_picture_shows():
    draw, size = np.random.default_rng(5), 96
    sides = [(150, 200)] * 4 + [(70, 60)] * 4
    maps = [
        fill_ring(ring_of("star", draw, h, w).ravel(), 0, 0, w, h).astype(np.uint8)
        for h, w in sides
    ]
    for augment in (STRAIGHT, BENT):
        rows = rows_for(augment, sides, size)
        flat, start, shape = lay(maps)
        deep = torch.cat([shape, torch.ones(len(sides), 1, dtype=torch.int32)], dim=1)
        how = {"size": size, "channels": 1, "mean": (0.0,), "std": (1.0,)}
        light = image_reference(flat * 255, start, deep, rows, **how)[:, 0] > 0.5
        masks = sample_masks(flat, start, shape, rows, size=size).bool()
        assert min(iou(a, b) for a, b in zip(light, masks, strict=True)) > 0.93


@pytest.mark.parametrize("augment", [STRAIGHT, BENT], ids=["straight", "bent"])
def test_runs_and_source_polygons_are_exactly_the_sampled_mask(augment):
    draw, size, sides = np.random.default_rng(4), 50, [(61, 90), (120, 47), (40, 40)]
    rings = [ring_of(name, draw, *sides[n]) for n, name in enumerate(("star", "disc", "rectangle"))]
    rings = [np.rint(each * p.ONE) / p.ONE for each in rings]
    maps = [
        fill_ring(r.ravel(), 0, 0, w, h).astype(np.uint8)
        for r, (h, w) in zip(rings, sides, strict=True)
    ]
    flat, start, shape = lay(maps)
    rows, image, each = rows_for(augment, sides, size), torch.arange(3), torch.arange(4)
    whole = torch.tensor([[0.0, 0, size, size]]).repeat(3, 1)
    counts = [encode_mask(one) for one in maps]
    cuts = torch.tensor([0, *np.cumsum([len(one) for one in counts])])
    ends = end_runs(torch.from_numpy(np.concatenate(counts)), cuts)
    masks = sample_masks(flat, start, shape, rows, size=size)
    how = {"size": size, "side": size}
    assert masks.sum() > 300
    assert torch.equal(draw_runs(ends, cuts, image, shape, rows, whole, **how), masks)
    cuts = torch.tensor([0, *np.cumsum([len(one) for one in rings])])
    vertices = torch.from_numpy(np.concatenate(rings))
    drawn = draw_polygons(vertices, cuts, each, image, shape, rows, whole, **how)
    assert torch.equal(drawn, masks)


def test_a_region_is_the_same_cells_of_the_whole():
    rows = rows_for(BENT, [(60, 80)], 64)
    mask = np.random.default_rng(0).random((60, 80)) < 0.5
    counts = torch.from_numpy(encode_mask(mask))
    cuts, image = torch.tensor([0, len(counts)]), torch.zeros(1, dtype=torch.int64)
    args = (end_runs(counts, cuts), cuts, image, torch.tensor([[60, 80]], dtype=torch.int32), rows)
    whole = draw_runs(*args, torch.tensor([[0.0, 0, 64, 64]]), size=64, side=64)
    part = draw_runs(*args, torch.tensor([[17.0, 30, 49, 62]]), size=64, side=32)
    assert torch.equal(part, whole[:, 30:62, 17:49])


def test_neither_threads_nor_batch_change_a_label():
    maps = [
        np.random.default_rng(n).integers(0, 99, (40 + n, 61)).astype(np.uint8) for n in range(9)
    ]
    flat, start, shape = lay(maps)
    rows = rows_for(BENT, [each.shape for each in maps], 40)
    whole = sample_masks(flat, start, shape, rows, size=40, threads=1)
    assert torch.equal(sample_masks(flat, start, shape, rows, size=40, threads=3), whole)
    alone = sample_masks(flat, start[4:5], shape[4:5], rows[4:5], size=40)
    assert torch.equal(alone, whole[4:5])


def test_three_thousand_cells_fit_in_less_than_100_megabytes():
    script = (
        "import resource, torch\n"
        "from foveate.kernels.instances.op import draw_polygons\n"
        "from foveate.kernels.sample.params import plain\n"
        "from foveate.kernels.sample.augment import Augment\n"
        "rows = torch.from_numpy(plain(Augment(rotate=0.0), [[520, 704, 1]], 512))\n"
        "def draw(count):\n"
        "    turn = torch.arange(40) * 6.283 / 40\n"
        "    disc = 12 * torch.stack([turn.cos(), turn.sin()], 1)\n"
        "    middle = torch.rand(count, 2) * torch.tensor([680.0, 500.0]) + 12\n"
        "    cuts, each = 40 * torch.arange(count + 1), torch.arange(count + 1)\n"
        "    out = middle * torch.tensor([512 / 704, 512 / 520])\n"
        "    regions = torch.cat([out - 14, out + 14], 1)\n"
        "    image, shape = each[1:] * 0, torch.tensor([[520, 704]], dtype=torch.int32)\n"
        "    rings = (middle[:, None] + disc).view(-1, 2)\n"
        "    return draw_polygons(rings, cuts, each, image, shape, rows, regions,\n"
        "                         size=512, side=28)\n"
        "draw(2)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert 0.2 < draw(3000).float().mean() < 0.5\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 30e6


def test_wrong_arguments_are_refused_by_name():
    maps = lay([np.zeros((9, 7), np.uint8)])
    flat, start, shape = maps
    rows = rows_for(STRAIGHT, [(9, 7)], 8)
    one, two = torch.zeros(1, dtype=torch.int64), torch.tensor([0, 1])
    runs = [torch.tensor([63], dtype=torch.int32), two, one, shape, rows, torch.zeros(1, 4)]
    rings = [torch.zeros(1, 2), two, two, one, shape, rows, torch.zeros(1, 4)]

    def swap(args, place, new):
        return [*args[:place], new, *args[place + 1 :]]

    how = {"size": 8, "side": 4}
    cases = [
        ("labels must", lambda: sample_masks(flat.float(), start, shape, rows, size=8)),
        ("start and shape", lambda: sample_masks(flat[1:], start, shape, rows, size=8)),
        ("start must", lambda: sample_masks(flat, start.int(), shape, rows, size=8)),
        ("shape must", lambda: sample_masks(flat, start, shape.long(), rows, size=8)),
        ("params must", lambda: sample_masks(flat, start, shape, rows.long(), size=8)),
        ("window", lambda: sample_masks(flat, start, shape, rows + p.ONE * 20, size=8)),
        ("outside must", lambda: sample_masks(*maps, rows, size=8, outside=256)),
        ("parts must", lambda: sample_masks(*maps, rows, size=8, parts=2)),
        ("size must", lambda: sample_masks(*maps, rows, size=0)),
        ("threads must", lambda: sample_masks(*maps, rows, size=8, threads=0)),
        ("ends must", lambda: draw_runs(*swap(runs, 0, runs[0].long()), **how)),
        ("start must climb", lambda: draw_runs(*swap(runs, 1, two * 2), **how)),
        ("image must name", lambda: draw_runs(*swap(runs, 2, one + 1), **how)),
        ("regions must", lambda: draw_runs(*swap(runs, 5, torch.zeros(2, 4)), **how)),
        ("regions must", lambda: draw_runs(*swap(runs, 5, torch.full((1, 4), torch.nan)), **how)),
        ("side must", lambda: draw_runs(*runs, size=8, side=0)),
        ("vertices must", lambda: draw_polygons(*swap(rings, 0, rings[0] - 9), **how)),
        ("vertices must", lambda: draw_polygons(*swap(rings, 0, rings[0].int()), **how)),
        ("rings must climb", lambda: draw_polygons(*swap(rings, 1, two * 3), **how)),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()
