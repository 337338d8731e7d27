"""The end of a run: final weights, final scores, receipt, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from . import evidence
from .checkpoint import save_tensors
from .console import Console
from .identity import identify
from .models import hash_weights
from .plan import Plan
from .prepare import Clock, Prepared
from .receipt import Receipt, verdict_of
from .recipe import Recipe
from .report import write_report
from .runs import write_json
from .task import Rows
from .trainer import Trainer

Weights = dict[str, Tensor]


def close_run(
    trainer: Trainer,
    prepared: Prepared,
    folder: Path,
    console: Console,
    clock: Clock,
    facts: dict[str, Any],
) -> Receipt:
    """Score the weights that the recipe keeps on every held-out split, and write it all down."""
    began = time.perf_counter()
    last = trainer.weights()
    scored, weights = _choose(trainer, folder, last)
    save_tensors(folder / "weights" / "last.safetensors", last)
    save_tensors(folder / "weights" / f"{scored}.safetensors", weights)
    trainer.adopt(weights)
    scores: dict[str, dict[str, float]] = {}
    confusion: dict[str, list[list[int]]] = {}
    for split in [name for name in ("val", "test") if name in prepared.splits]:
        rows = _score(trainer, prepared, folder, split, console)
        scores[split] = trainer.task.summary(rows)
        confusion[split] = trainer.task.confusion(rows).tolist()
    clock.add("eval_s", began)
    clock.seconds["train_s"] = facts["train_s"]
    clock.seconds["total_s"] = time.perf_counter() - clock.began
    receipt = Receipt(
        folder=str(folder),
        scores=scores,
        confusion=confusion,
        scored=scored,
        time={name: round(value, 3) for name, value in clock.seconds.items()},
        verdict=verdict_of(scores),
        weights_sha256=hash_weights(last),
        scored_sha256=hash_weights(weights),
        **describe_run(trainer.plan, prepared, facts["train_s"]),
    )
    write_json(folder / "receipt.json", receipt.to_dict())
    write_report(folder)
    return receipt


def _score(
    trainer: Trainer, prepared: Prepared, folder: Path, split: str, console: Console
) -> Rows:
    """Rows of one split, kept on disk with a sheet of the worst mistakes."""
    with console.stage(f"scoring {split}"):
        rows = trainer.evaluate(prepared.feed(split, trainer.recipe))
    save_tensors(folder / "evidence" / f"rows-{split}.safetensors", rows)
    evidence.show_wrong(folder, split, trainer, prepared, rows)
    return rows


def describe_run(plan: Plan, prepared: Prepared, train_s: float) -> dict[str, Any]:
    """The part of a receipt that was known before the scores."""
    images = plan.steps * plan.recipe.batch
    return {
        "recipe": plan.recipe.name,
        "recipe_hash": plan.recipe_hash,
        "classes": plan.recipe.task.classes,
        "steps": plan.steps,
        "images_seen": images,
        "images_per_s": images / max(train_s, 1e-9),
        "identity": identify(plan.machine.threads),
        "data": describe_data(plan, prepared),
        "precision": plan.precision,
        "notes": plan.notes,
    }


def _choose(trainer: Trainer, folder: Path, last: Weights) -> tuple[str, Weights]:
    """(name, weights) that the final scores belong to: best, ema or last."""
    best = folder / "weights" / "best.safetensors"
    if trainer.recipe.keep == "best" and best.exists():
        return "best", safetensors.torch.load_file(best)
    if trainer.recipe.ema:
        return "ema", trainer.weights(scored=True)
    return "last", last


def describe_data(plan: Plan, prepared: Prepared) -> dict[str, Any]:
    """What was trained and scored on: counts, differences from the published set, leaks."""
    recipe, listing = plan.recipe, prepared.listing
    return {
        "manifest_sha256": prepared.pack.content_sha256,
        "counts": listing.counts(),
        "expected": expect_counts(recipe),
        "differences": list(listing.differences),
        "split": recipe.data.split,
        "group_overlap": listing.overlaps,
        "quarantined": prepared.quarantined(),
        "synthetic": recipe.data.twin.kind != "none" and not recipe.data.root,
        "licence": recipe.claim.licence,
        "citation": recipe.claim.citation,
        "flaws": list(recipe.claim.flaws),
    }


def expect_counts(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Split -> class -> images of the published set, as far as they follow from the recipe.

    A split by groups has sizes that only the data know, so then the test folder alone is given.
    """
    data, classes = recipe.data, recipe.task.classes
    held = 0.0 if data.split == "none" else data.holdout
    found = {"test": data.expect_test}
    if data.split != "group":
        found["val"] = tuple(round(held * n) for n in data.expect_train) if held else ()
        found["train"] = tuple(n - round(held * n) for n in data.expect_train)
    return {name: dict(zip(classes, n, strict=False)) for name, n in found.items() if n}
