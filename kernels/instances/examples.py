"""Small calls of `draw_runs` and `draw_polygons` that cover the odd cases; tests run them all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..masks.examples import ANYWHERE, EDGED, MIRRORED, ODD, THIN, mosaic, rows_of
from ..op import Example
from ..sample.augment import Augment
from ..sample.columns import FLAGS, KEEP

CASES: list[tuple[str, list[tuple[int, int]], Augment | None, int, int, int]] = [
    ("plain", ODD, None, 17, 17, 8),
    ("anywhere", ODD * 2, ANYWHERE, 40, 14, 24),
    ("one pixel wide", THIN, ANYWHERE, 9, 5, 12),
    ("one pixel out", ODD, ANYWHERE, 1, 1, 8),
    ("with the edge repeated", ODD + THIN, EDGED, 20, 12, 16),
    ("mirrored", ODD + THIN, MIRRORED, 20, 12, 16),
    ("of a mosaic", ODD, Augment(flip=0.5, rotate=20.0), 30, 11, 24),
    ("of one part", ODD[:1], Augment(rotate=20.0), 30, 11, 8),
    ("none", ODD, ANYWHERE, 16, 7, 0),
]


def _regions(draw: np.random.Generator, count: int, size: int) -> torch.Tensor:
    """The whole output, one without area, one beyond the rim, and any others."""
    found = draw.uniform(-0.2 * size, 1.2 * size, (count, 2, 2))
    found = np.concatenate([found.min(axis=1), found.max(axis=1)], axis=1)
    found[0::4] = (0, 0, size, size)
    found[3::8, 2] = found[3::8, 0]
    return torch.from_numpy(found)


def _runs(draw: np.random.Generator, pixels: int) -> np.ndarray:
    """Run ends: none, a few or many; runs of no length too."""
    many = int(draw.choice([0, 1, 2, 9, 60]))
    inner = np.sort(draw.integers(0, pixels + 1, max(0, many - 1)))
    return np.append(inner, pixels)[:many].astype(np.int32)


def _offsets(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64)


def _frame(number: int, prefix: str) -> tuple[Example, np.random.Generator]:
    """What the two operations share: image, shape, params, regions; size and side."""
    name, sides, augment, size, side, count = CASES[number]
    draw = np.random.default_rng(number)
    rows = rows_of(augment, sides, size)
    rows = mosaic(rows, size) if "mosaic" in name else rows
    rows[:, FLAGS] |= KEEP * ("part" in name)  # its box is the whole output, regions go beyond
    image = torch.from_numpy(draw.integers(0, len(sides), count))
    shape = torch.tensor(sides, dtype=torch.int32)
    settings: dict[str, Any] = {"size": size, "side": side}
    args = (image, shape, rows, _regions(draw, count, size))
    return Example(f"{prefix} {name}", args, settings), draw


def run_examples() -> list[Example]:
    """Calls of `draw_runs` that between them reach every branch of a back end."""
    found = []
    for number in range(len(CASES)):
        frame, draw = _frame(number, "runs,")
        sides = frame.args[1][frame.args[0]].long().prod(dim=1).tolist()
        runs = [_runs(draw, pixels) for pixels in sides]
        ends = torch.from_numpy(np.concatenate([np.empty(0, np.int32), *runs]))
        args = (ends, _offsets([len(each) for each in runs]), *frame.args)
        found.append(Example(frame.name, args, frame.settings))
    return found


def polygon_examples() -> list[Example]:
    """Calls of `draw_polygons` that between them reach every branch of a back end."""
    found = []
    for number in range(len(CASES)):
        for moved in (False, True):
            frame, draw = _frame(number, "polygons moved," if moved else "polygons,")
            rings = draw.integers(0, 4, len(frame.args[0]))
            length = draw.integers(0, 9, int(rings.sum()))
            owner = frame.args[0].numpy().repeat(rings).repeat(length)
            reach = frame.args[1].numpy()[owner][:, ::-1].reshape(-1, 2)
            share = draw.uniform(0, 1, (len(owner), 2))
            share[::3] = np.rint(share[::3] * 4) / 4  # level edges, and corners on pixel centres
            vertices = share * (frame.settings["size"] if moved else reach)
            args = (torch.from_numpy(vertices), _offsets(list(length)), _offsets(list(rings)))
            settings = {**frame.settings, "moved": moved}
            found.append(Example(frame.name, (*args, *frame.args), settings))
    return found
