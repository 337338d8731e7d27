"""The Triton back end of `sample`, interpreted on the CPU: exact like the reference, in every step.

On a card the same tests run compiled. Sizes are tiny: the interpreter's cost is in the programs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from foveate.kernels.sample import columns as p
from foveate.kernels.sample import steps as every
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.examples import IMAGENET, examples, scans
from foveate.kernels.sample.op import SAMPLE
from foveate.kernels.sample.params import resolve
from foveate.kernels.sample.reference import reference

ROOT = Path(__file__).parent.parent
RAW = {1: {"mean": (0.0,), "std": (1.0,)}, 3: {"mean": (0.0,) * 3, "std": (1.0,) * 3}}
GRAYS, COLOURS = [(31, 47, 1), (20, 9, 1), (12, 60, 1)], [(21, 17, 3), (13, 38, 3), (40, 40, 3)]
ELASTIC = Augment(fit="letterbox", elastic=0.05, border="reflect", flip=0.5)
TURNED = Augment(fit="letterbox", rotate=180.0, scale=(0.5, 2.0), shear=30.0, fill=0.7)
TONED = Augment(brightness=0.4, saturation=0.4, gamma=1.0, noise=0.2, blur=2.0, erase=1.0)
CASES = {
    "letterbox": (Augment(fit="letterbox", flip=0.5, flip_vertical=0.5, fill=0.5), 0),
    "letterbox, edge": (Augment(fit="letterbox", border="edge", flip=0.5), 0),
    "letterbox, reflect": (Augment(fit="letterbox", border="reflect", flip_vertical=0.5), 0),
    "elastic": (ELASTIC, 0),
    "elastic, edge": (dataclasses.replace(ELASTIC, border="edge", rotate=40.0), 0),
    "turned, constant": (TURNED, 0),
    "turned, reflect": (dataclasses.replace(TURNED, border="reflect", translate=1.0), 0),
    "half of them turned": (dataclasses.replace(TURNED, affine_chance=0.5, fit="squash"), 0),
    "toned": (TONED, 0),
    "toned, contrast": (dataclasses.replace(TONED, contrast=0.5, colour_chance=0.6), 0),
    "stained": (Augment(flip=0.5), p.STAINED),
    "stained, everything": (dataclasses.replace(TONED, contrast=0.5, rotate=90.0), p.STAINED),
}


def batch(augment, shapes, size, flags=0, dtype=torch.uint8):
    pixels, start, shape = scans(shapes, dtype)
    index = np.arange(len(shapes))
    rows = resolve(augment, shape, size, seed=5, epoch=index * 0 + 1, index=index)
    if flags & p.STAINED:
        draw = np.random.default_rng(3)
        rows[:, p.FLAGS] |= flags
        rows[:, p.STAIN : p.STAIN + 9] += draw.integers(-20000, 20000, (len(rows), 9), np.int32)
        rows[:, p.STAIN_SHIFT : p.STAIN_SHIFT + 3] = draw.integers(-9000, 9000, (len(rows), 3))
    return pixels, start, shape, torch.from_numpy(rows)


def run(args, device, **how):
    """On the card if there is one, interpreted on the CPU if not; always back on the CPU."""
    how = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in how.items()}
    return SAMPLE.run(*(each.to(device) for each in args), backend="triton", **how).cpu()


def compare(args, device, **how):
    """The tolerance rule, for float32 with all steps and with the needed ones; 16 bits at 1 ulp."""
    exact = reference(*args, **how, dtype=torch.float64)
    same = reference(*args, **how, dtype=torch.float32)
    needed = every.needed(args[3], args[2], how["size"])
    ours = run(args, device, **how, steps=needed)
    assert ours.shape == exact.shape and ours.dtype == torch.float32
    error, theirs = ((out.double() - exact).abs().max() for out in (ours, same))
    bound = 2 * theirs + torch.finfo(torch.float32).eps * exact.abs().max()
    assert error <= bound, f"{error:.2e} > {bound:.2e}"
    return ours, needed


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_every_example_is_as_exact_as_its_reference(example, device):
    compare(example.args, device, **example.settings)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_as_exact_as_its_reference(case, channels, device):
    augment, flags = CASES[case]
    args = batch(augment, GRAYS[:2] + COLOURS[:2], 24, flags)
    mean, std = IMAGENET[0][:channels], IMAGENET[1][:channels]
    compare(args, device, size=24, channels=channels, mean=mean, std=std)
