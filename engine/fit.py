"""`fit`: a recipe in, a receipt out; and the policy of a run, visible in one place."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..dataloaders.errors import DataError
from . import evidence
from .checkpoint import Checkpointer, save_tensors
from .closing import close_run
from .console import Console, Logged
from .failure import Preempted, explain, write_failure
from .journal import Journal
from .plan import Machine, Plan, make_plan, this_machine
from .planning import check_recipe
from .prepare import Clock, Prepared, list_data, prepare
from .receipt import Receipt, read_receipt
from .recipe import Recipe
from .replay import Replay, catch_up
from .report import write_report
from .runs import default_folder, hold_folder, read_json, write_json, write_recipe
from .sampler import Sampler
from .stop import Stop
from .tracking import Tracker, read_metrics, rewind
from .trainer import Trainer


def fit(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    console: Console | None = None,
    tracking: str | None = None,
) -> Receipt:
    """Train a recipe to its end, or go on where it was stopped; returns its receipt.

    The run lies in `out`, by default `runs/<recipe>-<hash>`. A finished run returns its receipt
    at once; `fresh` sets it aside and starts over. `tracking` is an MLflow URI or "none", by
    default MLFLOW_TRACKING_URI or `mlflow.db` beside the run folder; nothing waits for it but the
    end, for 5 seconds at most. Raises RecipeError, DataError, StorageError,
    NumericalError, each with one line that says what to do, and Preempted after a signal.
    """
    folder = Path(out) if out else default_folder(recipe)
    console = console or Logged()
    with hold_folder(folder, recipe, fresh):
        done = read_receipt(folder)
        if done:
            console.say(f"already finished: {folder}")
            if not (folder / "report.html").exists():  # killed between the receipt and the report
                write_report(folder)
            catch_up(folder, tracking, console)
            return done
        replay = Replay(folder, tracking, console)
        try:
            return _execute(recipe, folder, console, replay)
        except BaseException as error:
            known = explain(error)
            if known is not None and not isinstance(known, Preempted):
                steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl")]
                write_failure(folder, known, max(steps, default=0))
            if known is None or known is error:
                raise
            raise known from error
        finally:
            replay.close()


def _execute(recipe: Recipe, folder: Path, console: Console, replay: Replay) -> Receipt:
    clock = Clock()
    began = time.perf_counter()
    check_recipe(recipe, console)
    listing = list_data(recipe, console)
    sizes = {name: len(found) for name, found in listing.members.items()}
    plan = make_plan(
        recipe, _machine(folder), train_images=sizes["train"], held_out_images=sizes["val"]
    )
    clock.add("data_s", began)
    trainer = Trainer(plan)  # before the pack: weights that cannot be had are known in a second
    began = time.perf_counter()
    prepared = prepare(recipe, listing, plan.machine.threads, console)
    clock.add("pack_s", began)
    write_recipe(folder, recipe)
    write_json(folder / "plan.json", plan.to_dict())
    (folder / "failure.json").unlink(missing_ok=True)
    for note in (*plan.notes, *listing.differences):
        console.say(f"note: {note}")
    state = run(plan, trainer, prepared, folder, console, replay)
    return close_run(trainer, prepared, folder, console, clock, state)


def _machine(folder: Path) -> Machine:
    """This machine, with the thread count that the run began with: part of bit-equality."""
    machine, before = this_machine(), read_json(folder / "plan.json")
    threads = (before or {}).get("machine", {}).get("threads", machine.threads)
    return replace(machine, threads=threads)


def run(
    plan: Plan, trainer: Trainer, prepared: Prepared, folder: Path, console: Console, replay: Replay
) -> dict[str, Any]:
    """Train from the newest checkpoint to the end of the plan.

    Returns the facts that survive a restart: seconds trained, best score. Raises Preempted after
    a signal, with everything saved.
    """
    checkpointer = Checkpointer(folder / "checkpoints")
    facts = _resume(trainer, prepared, checkpointer, folder, console)
    tracker = Tracker(folder / "metrics.jsonl")
    replay.start()
    feed = prepared.feed("train", plan.recipe)
    evidence.show(folder, trainer, feed)
    journal = Journal(plan, trainer, tracker, console, facts)
    if trainer.step:
        journal.event("resumed")
    try:
        with Stop() as stop, Sampler(tracker, journal):
            for report in trainer.steps(feed):
                journal.note(report)
                if report.step in plan.evals:
                    _evaluate(trainer, prepared, folder, journal)
                if report.step in plan.saves or stop.asked:
                    journal.event("saved")
                    tracker.sync()
                    checkpointer.save(report.step, trainer.state(), dict(facts))
                if stop.asked and report.step < plan.steps:
                    checkpointer.wait()
                    raise Preempted(
                        f"stopped by {stop.asked} after step {report.step} of {plan.steps}, saved; "
                        "the same command goes on"
                    )
    finally:
        checkpointer.close()
        tracker.close()
    return facts


def _resume(
    trainer: Trainer, prepared: Prepared, checkpointer: Checkpointer, folder: Path, console: Console
) -> dict[str, Any]:
    data = prepared.pack.content_sha256
    saved = checkpointer.restore()
    if saved is None:
        rewind(folder / "metrics.jsonl", 0)
        return {"data_sha256": data, "train_s": 0.0, "best": None}
    if saved.facts["data_sha256"] != data:
        raise DataError(
            "the images or labels are not those that this run began with; bring them back, "
            "or start over with --fresh"
        )
    trainer.load(saved.tensors, saved.step)
    undone = rewind(folder / "metrics.jsonl", saved.step)
    console.say(
        f"going on after step {saved.step}"
        + (f"; {undone} later lines of metrics set aside, they are trained again" if undone else "")
    )
    return dict(saved.facts)


def _evaluate(trainer: Trainer, prepared: Prepared, folder: Path, journal: Journal) -> None:
    """Score the held-out part; keep the weights if they are the best so far."""
    recipe, facts = trainer.recipe, journal.facts
    rows = trainer.evaluate(prepared.feed("val", recipe))
    scores = trainer.task.summary(rows)
    best = facts["best"]
    if recipe.keep == "best" and (best is None or scores["accuracy"] > best["accuracy"]):
        save_tensors(folder / "weights" / "best.safetensors", trainer.weights(scored=True))
        facts["best"] = {"step": trainer.step, "accuracy": scores["accuracy"]}
    journal.scored("val", scores)
