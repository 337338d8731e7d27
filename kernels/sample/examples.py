"""Small calls of `sample` that cover the odd cases; every test and benchmark of ops runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..op import Example
from .augment import Augment
from .params import at_level, choose_level, plain, resolve

EVERYTHING = Augment(
    area=(0.08, 1.0), ratio=(0.75, 4 / 3), flip=0.5, flip_vertical=0.5, rotate=180.0,
    brightness=0.4, contrast=0.4, saturation=0.4,
)  # fmt: skip
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def scans(
    shapes: list[tuple[int, int, int]], dtype: torch.dtype = torch.uint8, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise images, dark to bright, of these (H,W,C) -> pixels (flat), start (N,), shape (N,3).

    Noise alone would average to mid-gray, close to the mean that is subtracted, and a float32
    result would be judged by the few digits that are left.
    """
    sizes = [height * width * channels for height, width, channels in shapes]
    most, level = torch.iinfo(dtype).max, np.repeat(np.linspace(0, 1, len(sizes)), sizes)
    noise = (0.4 * level + 0.6 * np.random.default_rng(seed).random(sum(sizes))) * (most + 0.99)
    pixels = torch.from_numpy(noise.astype(np.uint8 if dtype == torch.uint8 else np.uint16))
    start = torch.tensor([0, *np.cumsum(sizes)[:-1]], dtype=torch.int64)
    return pixels, start, torch.tensor(shapes, dtype=torch.int32)


def _example(
    name: str,
    shapes: list[tuple[int, int, int]],
    augment: Augment | None,
    *,
    size: int,
    channels: int,
    dtype: torch.dtype = torch.uint8,
) -> Example:
    pixels, start, shape = scans(shapes, dtype)
    if augment is None:
        rows = plain(Augment(), shape, size)
    else:
        index = np.arange(len(shapes))
        rows = resolve(augment, shape, size, seed=7, epoch=index * 0 + 3, index=index)
    settings: dict[str, Any] = {"size": size, "channels": channels}
    settings |= {"mean": IMAGENET[0][:channels], "std": IMAGENET[1][:channels]}
    return Example(name, (pixels, start, shape, torch.from_numpy(rows)), settings)


def _mip() -> Example:
    """The second level of an odd-sided image: its window ends half a pixel outside."""
    rows = plain(Augment(), np.array([[77, 69, 1]]), 16)
    level = choose_level(rows, np.array([4]))
    small = _example("mip level", [(38, 34, 1)], None, size=16, channels=1)
    args = (*small.args[:3], torch.from_numpy(at_level(rows, level)))
    return Example(small.name, args, small.settings)


def examples() -> list[Example]:
    """Calls that between them reach every branch of a back end."""
    odd = [(31, 47, 1), (64, 64, 1), (101, 33, 1), (7, 250, 1)]
    thin = [(1, 1, 1), (1, 90, 1), (90, 1, 1), (2, 3, 3), (1, 40, 3), (40, 1, 3), (1, 1, 3)]
    coloured = [(61, 47, 3), (33, 128, 3), (96, 96, 3)]
    tiny = Augment(area=(0.001, 0.01), ratio=(0.5, 2.0), flip=0.5)
    return [
        _example("plain", odd, None, size=17, channels=1),
        _example("one pixel wide", thin, None, size=9, channels=3),
        _example("one pixel wide, everything", thin, EVERYTHING, size=9, channels=3),
        _example("one pixel out", odd, EVERYTHING, size=1, channels=1),
        _example("tiny crops", odd + coloured, tiny, size=32, channels=3),
        _example("gray repeated", odd * 2, EVERYTHING, size=24, channels=3),
        _example("RGB", coloured * 3, EVERYTHING, size=24, channels=3),
        _example("RGB turned gray", coloured * 2, EVERYTHING, size=24, channels=1),
        _example("mixed", odd + coloured, EVERYTHING, size=33, channels=3),
        _example("16 bits", odd * 2, EVERYTHING, size=24, channels=1, dtype=torch.uint16),
        _example("16 bits RGB", coloured, EVERYTHING, size=24, channels=3, dtype=torch.uint16),
        _example("upside down", odd, Augment(rotate=180.0, flip_vertical=1.0), size=40, channels=1),
        _mip(),
    ]
