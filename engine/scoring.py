"""A finished run at work: scores on another folder, answers for single files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from ..dataloaders.decoders.decode import Unreadable, decode_frames
from ..dataloaders.errors import DataError, StorageError
from ..dataloaders.feed.feed import Feed
from ..dataloaders.feed.members import Members
from ..dataloaders.feed.store import Packed
from ..dataloaders.folder import IMAGES
from ..dataloaders.light import even_out
from ..dataloaders.pack.build import pack_arrays
from .failure import RecipeError
from .models.library import hash_weights
from .plan import make_plan, this_machine
from .recipe import Recipe, window_of
from .run.console import Console
from .run.folder import read_json, read_recipe
from .run.leaks import Leaks
from .run.listing import list_data
from .run.prepare import prepare
from .run.receipt import Receipt, read_receipt, table, verdict_of
from .trainer import Trainer

TOGETHER = 32  # files that are decoded and classified at a time


def open_run(folder: Path, recipe: Recipe | None = None) -> tuple[Trainer, Receipt]:
    """A trainer with the weights that a finished run was scored with, checked by their hash."""
    receipt = read_receipt(folder)
    if receipt is None:
        raise RecipeError(
            f"{folder} holds no finished run; `foveate runs ls` shows where they stand"
        )
    recipe = recipe or read_recipe(folder)
    recipe = replace(recipe, task=recipe.task.untrained(), keep="last")  # nothing left to choose
    before = read_json(folder / "plan.json") or {}
    images = max(before.get("train_images", 0), recipe.batch)
    plan = make_plan(recipe, this_machine(), train_images=images, held_out_images=images)
    path = folder / "weights" / f"{receipt.scored}.safetensors"
    try:
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{path} cannot be read ({error}); train again with --fresh") from None
    if hash_weights(weights) != receipt.scored_sha256:
        raise StorageError(f"{path} is not what the receipt says; train again with --fresh")
    trainer = Trainer(plan)
    trainer.adopt(weights)
    return trainer, receipt


def score_run(folder: Path, root: str, split: str, console: Console) -> dict[str, Any]:
    """Scores of a finished run on a split of its own data, or of the folder `root`."""
    recipe = read_recipe(folder)
    if root:
        data = replace(recipe.data, root=root)
        if split == "test":  # another folder may have nothing to train on
            data = replace(data, train="", split="none", need_test=True, table="")
        recipe = replace(recipe, data=data)
    trainer, receipt = open_run(folder, recipe)
    listing = list_data(recipe, console)
    prepared = prepare(recipe, listing, trainer.plan.machine, console)
    if split not in prepared.splits:
        raise DataError(f"the recipe has no {split} split; set --split, or train with one")
    with closing(prepared.store):
        rows = trainer.evaluate(prepared.feed(split, recipe))
    return {
        "format": 1,
        "run": receipt.recipe_hash,
        "weights_sha256": receipt.scored_sha256,
        "data_sha256": prepared.data_sha256,
        "split": split,
        "scores": trainer.task.summary(rows),
        "confusion": trainer.task.confusion(rows).tolist(),
        "classes": list(trainer.task.classes),
        "quarantined": prepared.quarantined(),
        "leaks": asdict(prepared.leaks),
    }


def describe_scores(facts: dict[str, Any]) -> str:
    """What `foveate eval` prints."""
    return (
        verdict_of({facts["split"]: facts["scores"]}, Leaks(**facts["leaks"]))
        + "\n"
        + table(facts["confusion"], facts["classes"])
    )


def predict_files(folder: str | Path, paths: Sequence[str | Path]) -> dict[str, Any]:
    """Class and confidences of each image file, folders searched; a bad file has an "error"."""
    files = [file for path in paths for file in _expand(Path(path))]
    trainer, receipt = open_run(Path(folder))
    answers: list[dict[str, Any]] = []
    for first in range(0, len(files), TOGETHER):
        answers += _predict(trainer, files[first : first + TOGETHER])
    return {"format": 1, "run": receipt.recipe_hash, "images": answers}


def _expand(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES)
        if not found:
            raise DataError(f"no image under {path}; files end with {' '.join(IMAGES)}")
        yield from found
    elif path.is_file():
        yield path
    else:
        raise DataError(f"no file or folder {path}")


def _predict(trainer: Trainer, files: list[Path]) -> list[dict[str, Any]]:
    images: list[np.ndarray] = []
    answers: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    window = window_of(trainer.recipe.data)
    for file in files:
        try:  # nothing of a header is kept or said, so patients may be named here
            frames = decode_frames(file.read_bytes(), window, allow_phi=True)
            frames = [even_out(frame, trainer.recipe.data.flatfield) for frame in frames]
        except (Unreadable, OSError) as error:
            answers.append({"path": str(file), "error": f"cannot be read: {error}"})
            continue
        several = len(frames) > 1
        own = [{"path": str(file), **({"frame": n} if several else {})} for n in range(len(frames))]
        images, answers, whole = images + frames, answers + own, whole + own
    if images:
        chance = _chances(trainer, images)
        names = trainer.task.classes
        for answer, row in zip(whole, chance.tolist(), strict=True):
            answer["class"] = names[int(np.argmax(row))]
            answer["confidence"] = max(row)
            answer["chance"] = dict(zip(names, row, strict=True))
    return answers


def _chances(trainer: Trainer, images: list[np.ndarray]) -> Tensor:
    """(H,W,C) arrays -> (N,K) float64 softmax, through the same levels and kernel as evaluation."""
    everything = np.arange(len(images))
    members = Members(everything, everything, np.zeros(len(images), np.int64))
    recipe = trainer.recipe
    store = Packed(pack_arrays(images, recipe.data.reduce))
    feed = Feed(store, members, recipe.augment, recipe.seed)
    return trainer.evaluate(feed, len(images))["logits"].double().softmax(1)
