"""Small calls of `sample` that cover the odd cases; every test and benchmark of ops runs them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from ..op import Example
from .augment import Augment
from .columns import (
    BOX_HEIGHT,
    BOX_TOP,
    BOX_WIDTH,
    COLOUR,
    FLAGS,
    KEEP,
    ONE,
    STAIN,
    STAIN_SHIFT,
    STAINED,
)
from .params import at_level, choose_level, plain, resolve

EVERYTHING = Augment(
    area=(0.08, 1.0), ratio=(0.75, 4 / 3), flip=0.5, flip_vertical=0.5, rotate=180.0,
    brightness=0.4, contrast=0.4, saturation=0.4,
)  # fmt: skip
TURNED = Augment(area=(0.3, 1.0), rotate=30.0, border="edge")
REST = Augment(
    fit="letterbox", area=(0.1, 1.0), flip=0.5, rotate=20.0, affine_chance=0.5, elastic=0.05,
    elastic_chance=0.5, border="reflect", brightness=0.4, contrast=0.4, saturation=0.4, gamma=1.0,
    blur=3.0, blur_chance=0.7, noise=0.2, noise_chance=0.7, erase=0.6,
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


def _changed(example: Example, name: str, **settings: Any) -> Example:
    return Example(name, example.args, {**example.settings, **settings})


def _mosaic(shapes: list[tuple[int, int, int]], augment: Augment, name: str) -> Example:
    """Four images in the quarters of an odd square; the first of every other one fills it all."""
    size, near = 25, 11
    example = _example(name, shapes, augment, size=size, channels=3)
    rows = example.args[3]
    rows[:, FLAGS] |= KEEP
    for n in range(len(rows)):
        top, left = near * (n % 4 // 2), near * (n % 2)
        down, across = (size - near if n % 4 // 2 else near), (size - near if n % 2 else near)
        rows[n, BOX_TOP : BOX_WIDTH + 1] = torch.tensor([top, left, down, across])
    rows[::8, FLAGS] &= ~KEEP
    rows[3, BOX_HEIGHT] -= 5  # leaves a hole in the first output, and in the second
    rows[7, BOX_WIDTH] = 1
    return _changed(example, name, parts=4)


def _stained() -> Example:
    """Light through matrices close to the identity, up to white and down to black."""
    example = _example(
        "stain", [(61, 47, 3), (33, 40, 3), (1, 1, 3)] * 2, TURNED, size=21, channels=3
    )
    rows, draw = example.args[3], np.random.default_rng(5)
    matrix = np.eye(3).ravel() + draw.uniform(-0.3, 0.3, (len(rows), 9))
    shift = draw.uniform(-0.2, 0.2, (len(rows), 3))
    drawn = np.rint(np.concatenate([matrix, shift], axis=1) * ONE).astype(np.int32)
    rows[:, STAIN : STAIN_SHIFT + 3] = torch.from_numpy(drawn)
    rows[::2, FLAGS] |= STAINED
    rows[1::2, FLAGS] |= STAINED | COLOUR
    return example


def _table(dtype: torch.dtype) -> torch.Tensor:
    """Light of each raw level, from white to black and far from straight."""
    levels = torch.iinfo(dtype).max + 1
    return (1 - torch.linspace(0, 1, levels, dtype=torch.float64).sqrt()).float()


def _borders(shapes: list[tuple[int, int, int]]) -> list[Example]:
    """Every border, turned and not, with a box and without; a short side leaves a box of 1."""
    found = []
    for border in ("constant", "edge", "reflect"):
        beside = Augment(fit="letterbox", border=border, fill=0.3, flip=0.5, flip_vertical=0.5)
        wild = dataclasses.replace(
            beside, rotate=180.0, scale=(0.05, 2.0), shear=60.0, translate=1.0
        )
        bent = dataclasses.replace(
            wild, fit="squash", scale=(0.05, 1.0), shear=30.0, elastic=0.06, affine_chance=0.5,
            elastic_chance=0.7,
        )  # fmt: skip
        for name, augment in (("letterbox", beside), ("turned", wild), ("bent", bent)):
            size = 30 if name == "bent" else 23
            found.append(_example(f"{name}, {border}", shapes, augment, size=size, channels=3))
    return found


def _mip() -> Example:
    """The second level of an odd-sided image: its window ends half a pixel outside."""
    rows = plain(Augment(), np.array([[77, 69, 1]]), 16)
    level = choose_level(rows, np.array([4]))
    small = _example("mip level", [(38, 34, 1)], None, size=16, channels=1)
    args = (*small.args[:3], torch.from_numpy(at_level(rows, level)))
    return Example(small.name, args, small.settings)


def _mosaics(
    odd: list[tuple[int, int, int]], coloured: list[tuple[int, int, int]]
) -> list[Example]:
    upright = Augment(flip=0.5, contrast=0.4)
    return [
        _mosaic([*odd, *coloured, (1, 1, 1)], REST, "mosaic"),
        _mosaic([*odd, *coloured, (1, 1, 3)], upright, "mosaic, upright"),
    ]


def examples() -> list[Example]:
    """Calls that between them reach every branch of a back end."""
    small = [(31, 25, 1), (9, 40, 1), (17, 19, 3)]
    odd = [(31, 47, 1), (64, 64, 1), (101, 33, 1), (7, 250, 1)]
    thin = [(1, 1, 1), (1, 90, 1), (90, 1, 1), (2, 3, 3), (1, 40, 3), (40, 1, 3), (1, 1, 3)]
    coloured = [(61, 47, 3), (33, 128, 3), (96, 96, 3)]
    tiny = Augment(area=(0.001, 0.01), ratio=(0.5, 2.0), flip=0.5)
    return [
        _example("plain", odd, None, size=17, channels=1),
        _example("one pixel wide", thin, None, size=9, channels=3),
        _example("one pixel wide, everything", thin, EVERYTHING, size=9, channels=3),
        _example("one pixel out", small[:1], EVERYTHING, size=1, channels=1),
        _example("tiny crops", odd + coloured, tiny, size=32, channels=3),
        _example("gray repeated", odd * 2, EVERYTHING, size=24, channels=3),
        _example("RGB", coloured * 3, EVERYTHING, size=24, channels=3),
        _example("RGB turned gray", coloured * 2, EVERYTHING, size=24, channels=1),
        _example("mixed", odd + coloured, EVERYTHING, size=33, channels=3),
        _example("16 bits", odd * 2, EVERYTHING, size=24, channels=1, dtype=torch.uint16),
        _example("16 bits RGB", coloured, EVERYTHING, size=24, channels=3, dtype=torch.uint16),
        _example("upside down", odd, Augment(rotate=180.0, flip_vertical=1.0), size=40, channels=1),
        _mip(),
        *_borders([(90, 41, 1), (20, 33, 3), (300, 2, 1), (1, 120, 3), (1, 1, 1)]),
        _example("blur", small + thin, Augment(blur=2.0, flip=0.5), size=16, channels=3),
        _example("gamma", odd * 2, Augment(gamma=4.0), size=19, channels=1),
        _example("noise", odd + coloured, Augment(noise=1.0), size=15, channels=3),
        _example("noise, gray", odd + coloured, Augment(noise=1.0), size=15, channels=1),
        _example("erase", odd + coloured, Augment(erase=1.0), size=15, channels=3),
        _stained(),
        _example("all steps", (odd + coloured + thin) * 2, REST, size=33, channels=3),
        _example("all steps, gray", (odd + coloured + thin) * 2, REST, size=20, channels=1),
        *_mosaics(odd, coloured),
        *(
            _changed(
                _example("", odd + coloured, REST, size=22, channels=3, dtype=dtype),
                f"table of {dtype}",
                table=_table(dtype),
            )
            for dtype in (torch.uint8, torch.uint16)
        ),
    ]
