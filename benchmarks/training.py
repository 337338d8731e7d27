"""The train step of this project against plain PyTorch on the same images, on this machine.

    python benchmarks/training.py --pairs 11 --json benchmarks/results/training_<cpu>_<date>.json

Ours: the Trainer's own step on its own feed: a pack, the sample kernel, bf16 where the processor
multiplies it, channels-last, a fused optimizer. Theirs: torchvision ImageFolder, DataLoader with
2 kept worker processes, torchvision transforms, the model in fp32 eager NCHW, torch's default
AdamW. Both: the same drawn JPEGs, model, batch, augmentation (resize, flip, brightness, contrast),
loss and number of images. Files are in the page cache for both. What ours spent once on decoding
into the pack is in the row "first epoch" (--first-epoch): one whole pass from nothing.

Their worker processes read ahead only within a run (a run is whole epochs), so nothing that is
timed was prepared while the other side was on the clock. Images are opened as gray by both:
ImageFolder's own loader would make RGB of them, at more cost.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from compare import Row, Side, begin, compare, finish, parse, plainly
from torch import nn
from torchvision import datasets, transforms

from foveate.engine.catalog import find
from foveate.engine.models.library import build_classifier
from foveate.engine.plan import make_plan, this_machine
from foveate.engine.recipe import Recipe, Schedule, Twin
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import cache_folder, list_data, locate
from foveate.engine.run.prepare import Prepared, prepare
from foveate.engine.trainer import Trainer

CASES = {"resnet18-128": ("resnet18", 128, 32), "resnet50-224": ("resnet50", 224, 16)}
"""Name -> model, side in pixels, images a step."""
SMOOTHING, DECAY, LR = 0.05, 0.05, 1e-4


def main() -> None:
    """Draw the images into a cache of their own, measure every case asked for."""
    options = parse(__doc__)
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options.add_argument("--images", type=int, default=128, help="drawn training images")
    options.add_argument("--first-epoch", action="store_true", help="decoding too; minutes more")
    asked = options.parse_args()
    identity, rows = begin(), []
    kept = cache_folder() / "numba"  # compiled kernels; twins and packs are drawn afresh
    with tempfile.TemporaryDirectory() as folder:
        kept.mkdir(parents=True, exist_ok=True)
        (Path(folder) / "numba").symlink_to(kept.resolve())
        os.environ["FOVEATE_CACHE"] = folder
        for name in asked.cases:
            rows += measure_case(name, asked.images, asked.pairs, asked.first_epoch)
        os.environ.pop("FOVEATE_CACHE")
    finish(identity, rows, asked.json)


def measure_case(name: str, images: int, pairs: int, first: bool) -> list[Row]:
    """Rows of one model: with data, without, and the first epoch with its decoding."""
    model, size, batch = CASES[name]
    recipe = make_recipe(model, size, batch, images)
    root = locate(recipe.data, Logged())
    trainer, prepared = make_trainer(recipe)
    loader, plain = make_loader(recipe, root), make_plain(recipe)
    what = f"{model} {size} px, batch {batch}, {trainer.plan.precision}"
    against = "torchvision and DataLoader, fp32"
    rows = compare(
        f"{what}: train step from JPEG files, decoded once",
        Side("foveate", ours(trainer, prepared)),
        Side(against, lambda: plain.epoch(loader)),
        pairs=pairs,
    )
    turns = max(1, images // batch)
    rows += compare(
        f"{what}: step without data",
        Side("foveate", ours_alone(trainer, prepared, turns)),
        Side("eager fp32 NCHW", lambda: plain.repeat(turns)),
        pairs=pairs,
    )
    if first:
        rows += compare(
            f"{what}: first epoch, decoding into the pack included",
            Side("foveate", ours_from_nothing(recipe)),
            Side(against, lambda: plain.epoch(loader)),
            pairs=pairs,
        )
    loader._iterator = None  # ends the worker processes before the next case
    return rows


def make_recipe(model: str, size: int, batch: int, images: int) -> Recipe:
    """The quickstart with this model at one size, and nothing that plain PyTorch does not do."""
    recipe = find("oct2017:quickstart")
    return replace(
        recipe,
        data=replace(recipe.data, twin=Twin(kind="oct", train=images, test=4)),
        task=replace(recipe.task, model=model, label_smoothing=SMOOTHING),
        optimizer=replace(recipe.optimizer, lr=LR, weight_decay=DECAY, decay_norm_and_bias=True),
        schedule=Schedule(),
        size=size,
        batch=batch,
        epochs=10_000.0,
        ema=0.0,
    )


def make_trainer(recipe: Recipe) -> tuple[Trainer, Prepared]:
    """As `fit` makes them."""
    listing = list_data(recipe, Logged())
    machine = this_machine()
    images = len(listing.members["train"])
    plan = make_plan(recipe, machine, train_images=images, held_out_images=0)
    return Trainer(plan), prepare(recipe, listing, machine, Logged(), "pack")


def ours(trainer: Trainer, prepared: Prepared) -> Callable[[], int]:
    """One epoch of the Trainer's own loop a call."""
    steps = trainer.steps(prepared.feed("train", trainer.recipe))
    turns, batch = trainer.plan.train_images // trainer.recipe.batch, trainer.recipe.batch

    def run() -> int:
        for _ in range(turns):
            next(steps)
        return turns * batch

    return run


def ours_alone(trainer: Trainer, prepared: Prepared, turns: int) -> Callable[[], int]:
    """The Trainer's forward, backward and update on one batch that is there."""
    recipe, strategy, task = trainer.recipe, trainer.strategy, trainer.task
    feed = prepared.feed("train", recipe)
    batch = trainer.prepare(feed.train(0, recipe.batch, recipe.size))

    def run() -> int:
        trainer.model.train()
        for _ in range(turns):
            loss = task.loss(trainer.forward, batch)["loss"] / recipe.batch
            strategy.backward(trainer.model, loss)
            strategy.step(trainer.model, trainer.optimizer, recipe.optimizer.clip)
        return turns * recipe.batch

    return run


def ours_from_nothing(recipe: Recipe) -> Callable[[], int]:
    """Scan, decode, write and open the pack, then one epoch: what a first epoch costs."""

    def run() -> int:
        shutil.rmtree(cache_folder() / "packs", ignore_errors=True)
        trainer, prepared = make_trainer(recipe)
        return ours(trainer, prepared)()

    return run


class Plain:
    """A training script of twenty lines, as the documentation of PyTorch writes it."""

    def __init__(self, model: nn.Module, size: int, batch: int) -> None:
        self.model = model.train()
        self.loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
        self.batch = torch.randn(batch, 1, size, size), torch.randint(0, 4, (batch,))

    def epoch(self, loader: Any) -> int:
        """Every image once; returns how many there were."""
        return sum(self._step(image, label) for image, label in loader)

    def repeat(self, turns: int) -> int:
        """The step on one batch that is there."""
        return sum(self._step(*self.batch) for _ in range(turns))

    def _step(self, image: torch.Tensor, label: torch.Tensor) -> int:
        self.optimizer.zero_grad()
        self.loss(self.model(image), label).backward()
        self.optimizer.step()
        return len(label)


def make_plain(recipe: Recipe) -> Plain:
    """The same network with the same start; `build_classifier` is torchvision's constructor."""
    torch.manual_seed(recipe.seed)
    model = build_classifier(recipe.task.model, len(recipe.task.classes), 1, "none")
    return Plain(model, recipe.size, recipe.batch)


def make_loader(recipe: Recipe, root: Path) -> torch.utils.data.DataLoader:
    """ImageFolder with 2 workers that stay between epochs; a last partial batch is dropped."""
    look, augment = recipe.data, recipe.augment
    steps = transforms.Compose(
        [
            transforms.Resize((recipe.size, recipe.size)),
            transforms.RandomHorizontalFlip(augment.flip),
            transforms.ColorJitter(brightness=augment.brightness, contrast=augment.contrast),
            transforms.ToTensor(),
            transforms.Normalize(look.mean, look.std),
        ]
    )
    files = datasets.ImageFolder(str(root / look.train), steps, loader=open_gray)
    return torch.utils.data.DataLoader(
        files, recipe.batch, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )


def open_gray(path: str) -> Any:
    """A picture as PIL opens it, one channel."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.convert("L")


if __name__ == "__main__":
    with plainly():
        main()
