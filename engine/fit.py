"""`fit`: a recipe in, a receipt out; and the policy of a run, visible in one place."""

from __future__ import annotations

import time
from contextlib import nullcontext
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
from .report import write_report
from .runs import default_folder, hold_folder, read_json, write_json, write_recipe
from .stop import Stop
from .tracking import Tracker, read_metrics, rewind
from .trainer import Trainer
from .world import World, join_world


def fit(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Receipt:
    """Train a recipe to its end, or go on where it was stopped; returns its receipt.

    The run lies in `out`, by default `runs/<recipe>-<hash>`. A finished run returns its receipt
    at once; `fresh` sets it aside and starts over. Raises RecipeError, DataError, StorageError,
    NumericalError, each with one line that says what to do, and Preempted after a signal.
    """
    folder = Path(out) if out else default_folder(recipe)
    with join_world(this_machine().device) as world:
        talk = (console or Logged()) if world.leads else Logged()
        holding = hold_folder(folder, recipe, fresh) if world.leads else nullcontext()
        with holding:
            if not _is_finished(folder, world, talk):
                _run_to_the_end(recipe, folder, talk, world)
            world.wait()  # the others read what the leader wrote
            receipt = read_receipt(folder)
    assert receipt is not None, "the leader wrote it"
    return receipt


def _is_finished(folder: Path, world: World, console: Console) -> bool:
    done = world.leads and read_receipt(folder) is not None
    if done:
        console.say(f"already finished: {folder}")
        if not (folder / "report.html").exists():  # killed between the receipt and the report
            write_report(folder)
    return bool(world.from_leader(int(done)))


def _run_to_the_end(recipe: Recipe, folder: Path, console: Console, world: World) -> None:
    """Execute; what ends the run is explained in one line and left behind in failure.json."""
    try:
        _execute(recipe, folder, console, world)
    except BaseException as error:
        known = explain(error)
        if known is not None and not isinstance(known, Preempted) and world.leads:
            steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl")]
            write_failure(folder, known, max(steps, default=0))
        if known is None or known is error:
            raise
        raise known from error


def _execute(recipe: Recipe, folder: Path, console: Console, world: World) -> None:
    clock = Clock()
    began = time.perf_counter()
    machine = _machine(folder, world)
    check_recipe(recipe, console)
    with world.first_on_each_machine():
        listing = list_data(recipe, console)
    sizes = {name: len(found) for name, found in listing.members.items()}
    plan = make_plan(recipe, machine, train_images=sizes["train"], held_out_images=sizes["val"])
    clock.add("data_s", began)
    trainer = Trainer(plan, world)  # before the pack: weights that cannot be had are known soon
    began = time.perf_counter()
    with world.first_on_each_machine():
        prepared = prepare(recipe, listing, machine.threads, console)
    clock.add("pack_s", began)
    if world.leads:
        write_recipe(folder, recipe)
        write_json(folder / "plan.json", plan.to_dict())
        (folder / "failure.json").unlink(missing_ok=True)
    for note in (*plan.notes, *listing.differences):
        console.say(f"note: {note}")
    facts = run(plan, trainer, prepared, folder, console)
    close_run(trainer, prepared, folder, console, clock, facts)


def _machine(folder: Path, world: World) -> Machine:
    """This machine, with the thread count that the run began with: part of bit-equality."""
    machine = this_machine(world)
    before = (read_json(folder / "plan.json") or {}).get("machine", {})
    threads = before.get("threads", machine.threads)
    world.wait()  # before the leader writes the plan anew
    same = before.get("world") == machine.world
    return replace(machine, threads=threads) if same else machine


def run(
    plan: Plan, trainer: Trainer, prepared: Prepared, folder: Path, console: Console
) -> dict[str, Any]:
    """Train from the newest checkpoint to the end of the plan.

    Returns the facts that survive a restart: seconds trained, best score. Raises Preempted after
    a signal to any of the processes, with everything saved.
    """
    world = trainer.world
    checkpointer = Checkpointer(folder / "checkpoints", world)
    facts = _resume(trainer, prepared, checkpointer, folder, console)
    feed = prepared.feed("train", plan.recipe)
    if world.leads:
        evidence.show_samples(folder, trainer, feed)
    tracker = Tracker(folder / "metrics.jsonl" if world.leads else None)
    journal = Journal(plan, trainer, tracker, console, facts)
    if trainer.step:
        journal.event("resumed")
    try:
        with Stop() as stop:
            for report in trainer.steps(feed):
                journal.note(report)
                stopping = world.any(bool(stop.asked))
                if report.step in plan.evals:
                    _evaluate(trainer, prepared, folder, journal)
                if report.step in plan.saves or stopping:
                    journal.event("saved")
                    tracker.sync()
                    checkpointer.save(report.step, trainer.state(), dict(facts))
                if stopping and report.step < plan.steps:
                    checkpointer.wait()
                    raise Preempted(
                        f"stopped by {stop.asked or 'another process'} after step {report.step} "
                        f"of {plan.steps}, saved; the same command goes on"
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
    step = saved.step if saved else 0
    if saved and saved.facts["data_sha256"] != data:
        raise DataError(
            "the images or labels are not those that this run began with; bring them back, "
            "or start over with --fresh"
        )
    undone = rewind(folder / "metrics.jsonl", step) if trainer.world.leads else 0
    if saved is None:
        return {"data_sha256": data, "train_s": 0.0, "best": None}
    trainer.load(saved.tensors, step)
    later = f"; {undone} later lines of metrics set aside, they are trained again" if undone else ""
    console.say(f"going on after step {step}{later}")
    return dict(saved.facts)


def _evaluate(trainer: Trainer, prepared: Prepared, folder: Path, journal: Journal) -> None:
    """Score the held-out part; keep the weights if they are the best so far."""
    recipe, facts = trainer.recipe, journal.facts
    rows = trainer.evaluate(prepared.feed("val", recipe))
    scores = trainer.task.summary(rows)
    best = facts["best"]
    if recipe.keep == "best" and (best is None or scores["accuracy"] > best["accuracy"]):
        if trainer.world.leads:
            path = folder / "weights" / "best.safetensors"
            save_tensors(path, trainer.weights(scored=True))
        facts["best"] = {"step": trainer.step, "accuracy": scores["accuracy"]}
    journal.scored("val", scores)
