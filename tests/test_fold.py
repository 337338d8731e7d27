"""Bends and zooms that could fold a picture are refused, and all that are not refused do not."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from foveate.kernels.points import displace, matrices
from foveate.kernels.sample import columns as p
from foveate.kernels.sample.augment import STEEPEST, Augment
from foveate.kernels.sample.params import bend, move, plain

SIZE = 32


def stretch(shear):
    """The most that shears of this many degrees lengthen, by singular values."""
    t = math.tan(math.radians(shear))
    return max(
        np.linalg.svd(np.array([[1, -a], [-b, 1 + a * b]]), compute_uv=False)[0]
        for a in (-t, t)
        for b in (-t, t)
    )


def extremes(augment, count=32):
    """Rows of the hardest draws: every control point at its end, signs random or the worst."""
    draw = np.random.default_rng(0)
    sign = draw.choice([-1.0, 1.0], (count, p.POINTS, p.POINTS, 2))
    worst = np.array([1, 1, 1, 1, -1, -1, -1])  # steepest in the middle of a cell, along x
    sign[: count // 2] = worst[None, None, :, None]
    sign[: count // 2] *= draw.choice([-1.0, 1.0], (count // 2, 1, 1, 2))
    rows = plain(Augment(), np.full((count, 3), SIZE), SIZE)
    degrees = draw.choice([-1.0, -0.5, 0.0, 0.5, 1.0], count) * augment.rotate
    if augment.rotate >= 45:
        degrees[::2] = draw.choice([-45.0, 45.0], len(degrees[::2]))
    shear = draw.choice([-1.0, 0.0, 1.0], (count, 2)) * augment.shear
    move(rows, SIZE, degrees=degrees, scale=augment.scale[1], shear=shear)
    bend(rows, np.trunc(sign * augment.elastic * SIZE * 256))
    return torch.from_numpy(rows)


def jacobians(rows):
    """The sign-carrying areas of all places, two to a pixel each way: (N, 4 * S * S) float64."""
    line = (np.arange(2 * SIZE) + 0.5) / 2 - 0.5
    y, x = np.meshgrid(line, line, indexing="ij")
    place = torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1))
    image = torch.arange(len(rows)).repeat_interleave(len(place))
    bent = displace(place.repeat(len(rows), 1), image, rows, SIZE)[1]
    return torch.linalg.det(matrices(rows)[0][image] + bent).view(len(rows), -1)


def at_the_limit(share, **fields):
    """An `Augment` whose scale is this share of the most that its elastic allows."""
    most = share / (STEEPEST * fields["elastic"] * stretch(fields.get("shear", 0.0)))
    return {**fields, "scale": (most / 2, most)}


CASES = [
    {"elastic": 0.06, "rotate": 180.0},
    {"elastic": 0.06, "rotate": 45.0, "shear": 10.0},
    {"elastic": 0.02, "rotate": 90.0, "shear": 30.0},
    {"elastic": 0.02, "shear": 45.0},
    {"elastic": 0.06},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
def test_what_is_let_through_never_folds(fields):
    augment = Augment(**at_the_limit(0.99, **fields))
    area = jacobians(extremes(augment))
    assert area.min() > 0


@pytest.mark.parametrize("fields", CASES, ids=str)
def test_what_is_beyond_the_limit_is_refused_with_what_is_allowed(fields):
    beyond = at_the_limit(1.01, **fields)
    with pytest.raises(ValueError, match=r"elastic .* with scale up to .* can fold the picture"):
        Augment(**beyond)
    Augment(**beyond | {"elastic": 0.98 * fields["elastic"]})
    Augment(**beyond, elastic_chance=0.0)
    Augment(**beyond, affine_chance=0.0)


def test_the_limit_is_no_lower_than_it_must_be():
    fields = at_the_limit(1.03, elastic=0.06, rotate=180.0)
    loose = Augment(**fields | {"elastic": 0.05})
    object.__setattr__(loose, "elastic", 0.06)  # past the check
    assert jacobians(extremes(loose)).min() < 0


def test_the_spline_is_steepest_along_an_axis_in_the_middle_of_a_cell():
    t, turn = np.linspace(0, 1, 41), np.linspace(0, math.pi, 91)[:, None, None, None, None]
    s = 1 - t
    weight = np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3]) / 6
    slope = np.stack([-3 * s**2, 9 * t**2 - 12 * t, 12 * s - 9 * s**2, 3 * t**2]) / 6
    along = slope[:, :, None, None] * weight[None, None]
    across = weight[:, :, None, None] * slope[None, None]
    total = np.abs(np.cos(turn) * along + np.sin(turn) * across).sum(axis=(1, 3))
    assert total.max() == pytest.approx(1.5)
    assert pytest.approx(1.5 * 4 * math.sqrt(2)) == STEEPEST  # 4 cells, two rows


def test_the_allowed_numbers_of_the_message_are_allowed():
    with pytest.raises(ValueError, match="fold") as caught:
        Augment(elastic=0.06, scale=(1.0, 4.0), shear=10.0)
    found = re.search(r"at most ([\d.]+), or scale up to ([\d.]+),", str(caught.value))
    elastic, scale = map(float, found.groups())
    Augment(elastic=elastic, scale=(1.0, 4.0), shear=10.0)
    Augment(elastic=0.06, scale=(0.5, scale), shear=10.0)
