"""The end of a run: final weights, final scores, receipt, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ..checkpoint import save_tensors
from ..failure import NumericalError
from ..models.library import hash_weights
from ..plan import Plan
from ..recipe import Recipe
from ..report.write import write_report
from ..task import Rows
from ..trainer import Trainer
from . import evidence
from .clock import Clock
from .console import Console
from .folder import write_json
from .identity import identify
from .prepare import Prepared
from .receipt import Receipt, verdict_of

Weights = dict[str, Tensor]


def close_run(
    trainer: Trainer,
    prepared: Prepared,
    folder: Path,
    console: Console,
    clock: Clock,
    facts: dict[str, Any],
) -> None:
    """Score the weights that the recipe keeps on every held-out split, and write it all down.

    Every rank scores its share; the leader writes.
    """
    began = time.perf_counter()
    last = trainer.weights()
    scored, weights = _choose(trainer, folder, last)
    _check_numbers(weights)
    trainer.adopt(weights)
    rows: dict[str, Rows] = {}
    for split in sorted(prepared.splits.keys() - {"train"}, reverse=True):
        with console.stage(f"scoring {split}"):
            rows[split] = trainer.evaluate(prepared.feed(split, trainer.recipe))
    prepared.pool_findings(trainer.world)
    if not trainer.world.leads:
        return
    save_tensors(folder / "weights" / "last.safetensors", last)
    save_tensors(folder / "weights" / f"{scored}.safetensors", weights)
    for split, found in rows.items():
        save_tensors(folder / "evidence" / f"rows-{split}.safetensors", found)
        evidence.show_wrong(folder, split, trainer, prepared, found)
    clock.add("eval_s", began)
    seconds = clock.read() | {"train_s": facts["train_s"]}
    hashes = (hash_weights(last), scored, hash_weights(weights))
    receipt = make_receipt(trainer.plan, prepared, folder, rows, seconds, hashes)
    write_json(folder / "receipt.json", receipt.to_dict())
    write_report(folder)


def _check_numbers(weights: Weights) -> None:
    """Raises NumericalError where a weight is no number: the last update may have made it so."""
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise NumericalError(
            f"{len(broken)} tensors hold values that are no numbers, first {broken[0]}; "
            "give a smaller --optimizer.lr or --precision fp32, and --fresh"
        )


def make_receipt(
    plan: Plan,
    prepared: Prepared,
    folder: Path,
    rows: dict[str, Rows],
    seconds: dict[str, float],
    weights: tuple[str, str, str],
) -> Receipt:
    """The receipt of rows by split; `weights` is (hash of the last, which were scored, theirs)."""
    task = plan.recipe.task
    scores = {split: task.summary(found) for split, found in rows.items()}
    return Receipt(
        folder=str(folder),
        scores=scores,
        confusion={split: task.confusion(found).tolist() for split, found in rows.items()},
        scored=weights[1],
        time={name: round(value, 3) for name, value in seconds.items()},
        verdict=verdict_of(scores, prepared.leaks),
        weights_sha256=weights[0],
        scored_sha256=weights[2],
        **describe_run(plan, prepared, seconds["train_s"]),
    )


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
        "identity": identify(plan.machine.threads) | {"world": plan.machine.world},
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
    wanted, found = recipe.data.expect_sha256, prepared.store.content_sha256
    differ = []
    if wanted and recipe.data.root and wanted != found:
        differ = ["contents are not those of the published set (expect_sha256)"]
        if not found:
            differ = ["contents were not held against expect_sha256: the files were streamed"]
    return {
        "manifest_sha256": prepared.data_sha256,
        "listing_sha256": listing.manifest.listing_sha256,
        "feed": f"{plan.feed}: {plan.feed_why}",
        "counts": listing.counts(),
        "expected": expect_counts(recipe),
        "differences": list(listing.differences) + differ,
        "split": recipe.data.split,
        "group_overlap": prepared.leaks.groups,
        "copies_across": prepared.leaks.copies,
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
    if data.split == "table":
        return {}
    held = 0.0 if data.split == "none" else data.holdout
    found = {"test": data.expect_test}
    if data.split != "group":
        found["val"] = tuple(round(held * n) for n in data.expect_train) if held else ()
        found["train"] = tuple(n - round(held * n) for n in data.expect_train)
    return {name: dict(zip(classes, n, strict=False)) for name, n in found.items() if n}
