"""A data set and a recipe small enough to train in a second: stripes of two directions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foveate.engine.classification import Classification
from foveate.engine.recipe import Data, Optimizer, Recipe, Schedule
from foveate.kernels.sample.augment import Augment

CLASSES = ("flat", "steep")


def draw(label: int, number: int, height: int = 72, width: int = 80) -> np.ndarray:
    """(H,W,1) uint8: stripes along x or along y, in noise; the same for the same arguments."""
    noise = np.random.default_rng([label, number])
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x if label else y) * 0.4 + noise.uniform(0, 6))
    pixels = 128 + 70 * wave + noise.normal(0, 12, wave.shape)
    return pixels.clip(0, 255).astype(np.uint8)[:, :, None]


def write_pictures(root: Path, train: int = 24, test: int = 9) -> Path:
    """`root/{train,test}/{flat,steep}/<class>-<patient>-<n>.jpeg`, two images per patient."""
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            label = number % 2
            folder = root / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            patient = 100 * (1 + (part == "test")) + number // 4
            path = folder / f"{CLASSES[label]}-{patient}-{number}.jpeg"
            Image.fromarray(draw(label, number)[:, :, 0]).save(path, quality=90)
    return root


def small_recipe(root: Path, **changes: Any) -> Recipe:
    """Six steps of 8 images at 32 px with dropout, batch norm, EMA and augmentation in play."""
    recipe = Recipe(
        name="small",
        data=Data(
            root=str(root), group=r"-(\d+)-", split="label", holdout=0.25, channels=1, mean=(0.5,)
        ),
        task=Classification(classes=CLASSES, model="mobilenet_v3_small"),
        augment=Augment(area=(0.5, 1.0), flip=0.5, rotate=10, brightness=0.1, contrast=0.1),
        optimizer=Optimizer(kind="adamw", lr=1e-3, weight_decay=0.01),
        schedule=Schedule(kind="onecycle", warmup=0.2),
        size=32,
        batch=8,
        epochs=3,
        ema=0.8,
        save_epochs=0.5,
        precision="fp32",
    )
    return replace(recipe, **changes)
