"""Points, boxes and polygons go where the picture goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveate.kernels.boxes import move_boxes, move_keypoints
from foveate.kernels.points import displace, move_points, residual
from foveate.kernels.polygons import clip_rings, measure_rings, move_polygons
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.params import bend, plain, resolve
from foveate.kernels.sample.reference import displacement

BENDING = Augment(area=(0.3, 1.0), flip=0.5, rotate=180.0, shear=10.0, elastic=0.06)


def rows_for(augment, sides, size, seed=1):
    shape = np.array([(height, width, 1) for height, width in sides])
    index = np.arange(len(shape))
    rows = resolve(augment, shape, size, seed=seed, epoch=index * 0, index=index)
    return torch.from_numpy(rows)


def reals(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


ZERO = torch.zeros(1, dtype=torch.int64)


def test_an_untouched_image_leaves_points_boxes_and_polygons_as_they_are():
    rows = torch.from_numpy(plain(Augment(), np.array([[32, 32, 1]]), 32))
    points = torch.rand(40, 2, dtype=torch.float64) * 32
    image = torch.zeros(40, dtype=torch.int64)
    assert torch.equal(move_points(points, image, rows, size=32), points)
    boxes, keep = move_boxes(reals([3, 4, 20.5, 30]), ZERO, rows, size=32)
    assert boxes.tolist() == [[3, 4, 20.5, 30]] and keep.all()
    ring = reals([3, 4], [20.5, 7], [9, 30])
    found, ends, area = move_polygons(ring, torch.tensor([0, 3]), ZERO, rows, size=32)
    assert torch.equal(found, ring) and ends.tolist() == [0, 3] and area[0, 0] == area[0, 1]


def test_a_crop_a_flip_and_a_letterbox_by_hand():
    rows = torch.from_numpy(plain(Augment(fit="letterbox"), np.array([[20, 40, 1]]), 80))
    assert move_points(reals([10, 5]), ZERO, rows, size=80).tolist() == [[20, 30]]
    rows[:, p.FLAGS] |= p.MIRROR
    assert move_points(reals([10, 5]), ZERO, rows, size=80).tolist() == [[60, 30]]
    rows[:, p.FLAGS] |= p.UPEND
    assert move_points(reals([10, 5]), ZERO, rows, size=80).tolist() == [[60, 50]]
    crop = torch.from_numpy(plain(Augment(fit="crop"), np.array([[20, 40, 1]]), 10))
    boxes, keep = move_boxes(reals([8, 4, 16, 12]), ZERO, crop, size=10)
    assert boxes.tolist() == [[0, 2, 3, 6]] and keep.tolist() == [True]  # 3 of 4 columns left


def test_a_point_lands_where_the_output_reads_it():
    rows = rows_for(BENDING, [(300, 400)] * 60, 96)
    image = torch.arange(60).repeat_interleave(50)
    draw = torch.Generator().manual_seed(0)
    share = torch.rand(len(image), 2, dtype=torch.float64, generator=draw)
    points = share * reals(400, 300)
    moved = move_points(points, image, rows, size=96)
    assert residual(points, moved, image, rows, size=96).max() < 1e-9


def test_the_strongest_bend_there_is_comes_undone():
    size = 224
    rows = plain(Augment(), np.array([[size, size, 1]] * 2), size)
    sign = (-1.0) ** np.add.outer(np.arange(p.POINTS), np.arange(p.POINTS))[None, ..., None]
    stripe = np.broadcast_to((-1.0) ** np.arange(p.POINTS)[:, None, None], (p.POINTS, p.POINTS, 2))
    most = np.floor(0.06 * size * 256)
    bend(rows, most * np.concatenate([np.broadcast_to(sign, (1, 7, 7, 2)), stripe[None]]))
    points = torch.rand(2000, 2, dtype=torch.float64) * size
    image, rows = torch.arange(2).repeat_interleave(1000), torch.from_numpy(rows)
    moved = move_points(points, image, rows, size=size)
    assert residual(points, moved, image, rows, size=size).max() < 1e-9


@pytest.mark.parametrize("size", [33, 224])
def test_the_displacement_between_pixels_is_the_kernels_up_to_its_roundings(size):
    rows = rows_for(Augment(elastic=0.06), [(50, 50)] * 4, size)
    y, x = np.mgrid[:size, :size]
    places = torch.from_numpy(np.stack([x, y], axis=-1).reshape(-1, 2).astype(float))
    for n, row in enumerate(rows.tolist()):
        ours, _ = displace(places, torch.full((size * size,), n), rows, size)
        theirs = np.stack(displacement(row, size), axis=-1).reshape(-1, 2) / p.ONE
        assert np.abs(ours.numpy() - theirs).max() < 0.1 * size / 224


def test_the_derivative_of_the_displacement_is_its_slope():
    rows = rows_for(Augment(elastic=0.06), [(50, 50)], 64)
    places = torch.rand(200, 2, dtype=torch.float64) * 60 + 1
    image = torch.zeros(200, dtype=torch.int64)
    _, slope = displace(places, image, rows, 64)
    for axis in (0, 1):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-6
        more, less = (displace(places + s * step, image, rows, 64)[0] for s in (1, -1))
        assert (slope[:, :, axis] - (more - less) / 2e-6).abs().max() < 1e-6


def test_a_box_beside_the_window_does_not_come_back_into_the_corner_of_a_turned_picture():
    rows = torch.from_numpy(plain(Augment(fit="crop"), np.array([[40, 120, 1]]), 40))
    turned = rows.clone()
    turned[:, p.FLAGS] |= p.AFFINE  # shrunk to half: beside the tile there is room, but no picture
    turned[:, [p.XX, p.YY]] = 2 * p.ONE
    turned[:, [p.X0, p.Y0]] = -39 * p.ONE // 2
    box = reals([20, 0, 38, 40], [60, 0, 78, 40])
    _, keep = move_boxes(box, ZERO.repeat(2), turned, size=40)
    assert keep.tolist() == [False, True]
    _, seen = move_keypoints(reals([30, 20], [60, 20]), ZERO.repeat(2), turned, size=40)
    assert seen.tolist() == [False, True]


def test_what_is_nearly_gone_too_small_or_without_area_is_not_kept():
    rows = torch.from_numpy(plain(Augment(fit="crop"), np.array([[20, 40, 1]]), 20))
    boxes = reals([8, 0, 12, 4], [7, 0, 11, 4], [15, 5, 15, 9], [15, 5, 15.9, 9], [0, 0, 5, 5])
    image = torch.zeros(5, dtype=torch.int64)
    _, keep = move_boxes(boxes, image, rows, size=20)
    assert keep.tolist() == [True, True, False, False, False]
    _, keep = move_boxes(boxes, image, rows, size=20, min_visible=0.3, min_side=0.5)
    assert keep.tolist() == [True, False, False, True, False]
    _, keep = move_boxes(boxes, image, rows, size=20, min_visible=0.0, min_side=0.0)
    assert keep.tolist() == [True, True, False, True, False]


def test_parts_of_a_mosaic_are_cut_to_their_own_box():
    shape = np.array([[20, 20, 1]] * 2)
    rows = plain(Augment(), shape, 40)
    rows[:, p.FLAGS] |= p.KEEP
    rows[:, p.BOX_WIDTH] = 20
    rows[1, p.BOX_LEFT] = 20
    rows[:, p.FLAGS] |= p.AFFINE
    rows[:, p.X0] = -10 * p.ONE  # ten pixels to the right: the first would run into the second
    rows = torch.from_numpy(rows)
    boxes, keep = move_boxes(reals([0, 0, 20, 20], [0, 0, 20, 20]), torch.arange(2), rows, size=40)
    assert boxes.tolist() == [[10, 0, 20, 40], [30, 0, 40, 40]] and keep.all()
    square = reals([0, 0], [20, 0], [20, 20], [0, 20])
    _, _, area = move_polygons(
        square.repeat(2, 1), torch.tensor([0, 4, 8]), torch.arange(2), rows, size=40
    )
    assert area.tolist() == [[800, 400], [800, 400]]


def test_a_concave_ring_that_falls_apart_keeps_its_area():
    comb = reals([0, 0], [9, 0], [9, 9], [6, 9], [6, 3], [3, 3], [3, 9], [0, 9])
    found, ends = clip_rings(comb, torch.tensor([0, 8]), reals([1, 5, 8, 20]))
    assert measure_rings(found, ends).tolist() == [2 * 4 + 2 * 4]
    gone, ends = clip_rings(comb, torch.tensor([0, 8]), reals([20, 20, 30, 30]))
    assert len(gone) == 0 and ends.tolist() == [0, 0]


def test_rings_do_not_touch_each_other():
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 9, 40)
    ends = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    vertices = torch.from_numpy(draw.uniform(-50, 350, (int(ends[-1]), 2)))
    image = torch.from_numpy(draw.integers(0, 6, 40))
    rows = rows_for(BENDING, [(300, 400)] * 6, 64)
    found, cuts, area = move_polygons(vertices, ends, image, rows, size=64)
    for n in range(40):
        alone = vertices[ends[n] : ends[n + 1]]
        one, _, one_area = move_polygons(
            alone, torch.tensor([0, len(alone)]), image[n : n + 1], rows, size=64
        )
        assert torch.equal(one, found[cuts[n] : cuts[n + 1]])
        assert torch.equal(one_area[0], area[n])


def test_nothing_in_gives_nothing_out():
    for rows in (rows_for(BENDING, [(9, 9)] * 3, 8), torch.empty(0, p.COLUMNS, dtype=torch.int32)):
        none = torch.empty(0, dtype=torch.int64)
        moved, seen = move_keypoints(torch.empty(0, 2), none, rows, size=8)
        boxes, keep = move_boxes(torch.empty(0, 4), none, rows, size=8)
        found, ends, area = move_polygons(
            torch.empty(0, 2), torch.zeros(1, dtype=torch.int64), none, rows, size=8
        )
        shapes = [tuple(each.shape) for each in (moved, seen, boxes, keep, found, ends, area)]
        assert shapes == [(0, 2), (0,), (0, 4), (0,), (0, 2), (1,), (0, 2)]


def test_wrong_arguments_are_refused_by_name():
    rows = rows_for(BENDING, [(9, 9)], 8)
    flat = rows.clone()
    flat[:, [p.XX, p.XY]] = 0
    point = torch.zeros(1, 2)
    cases = [
        ("points must be", lambda: move_points(torch.zeros(1, 3), ZERO, rows, size=8)),
        ("points must be", lambda: move_points(point.int(), ZERO, rows, size=8)),
        ("image must be", lambda: move_points(point, ZERO.int(), rows, size=8)),
        ("image must name", lambda: move_points(point, ZERO + 1, rows, size=8)),
        ("params must be", lambda: move_points(point, ZERO, rows[:, :5], size=8)),
        ("row 0 has no inverse", lambda: move_points(point, ZERO, flat, size=8)),
        ("boxes must be", lambda: move_boxes(point, ZERO, rows, size=8)),
        ("min_visible", lambda: move_boxes(torch.zeros(1, 4), ZERO, rows, size=8, min_visible=2)),
        ("offsets must climb", lambda: move_polygons(point, ZERO, ZERO, rows, size=8)),
        ("offsets must be", lambda: move_polygons(point, ZERO.int(), ZERO, rows, size=8)),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()
