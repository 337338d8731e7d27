"""`fit`: a recipe in, a receipt out; and the policy of a run, visible in one place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..dataloaders.errors import DataError
from .checkpoint import Checkpointer, save_tensors
from .failure import Preempted, RecipeError, explain, write_failure
from .plan import Machine, Plan, make_plan, this_machine
from .planning import check_recipe
from .ranks.world import World, join_world
from .recipe import Recipe, expand
from .report.write import write_report
from .run import evidence
from .run.clock import Clock
from .run.closing import close_run
from .run.console import Console, Logged
from .run.folder import default_folder, hold_folder, read_json, write_json, write_recipe
from .run.journal import Journal
from .run.listing import list_data
from .run.prepare import Prepared, decide_feed, is_same_data, prepare
from .run.receipt import Receipt, read_receipt
from .run.sampler import Sampler
from .run.stop import Stop
from .tracking.metrics import Tracker, read_metrics, rewind
from .tracking.replay import Replay, catch_up
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
    with join_world(this_machine().device) as world, _as_it_was():
        talk = (console or Logged()) if world.leads else Logged()
        if fresh:
            check_recipe(recipe, talk)  # before a whole run is set aside for one that cannot be
        holding = hold_folder(folder, recipe, fresh) if world.leads else nullcontext()
        with holding:
            if not _is_finished(recipe, folder, world, talk):
                with closing(Replay(folder, tracking if world.leads else "none", talk)) as replay:
                    _run_to_the_end(recipe, folder, talk, world, replay)
            elif world.leads:
                catch_up(folder, tracking, talk)
            world.wait()  # the others read what the leader wrote
            receipt = read_receipt(folder)
    assert receipt is not None, "the leader wrote it"
    return receipt


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave the caller's random state and thread count alone."""
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


def _is_finished(recipe: Recipe, folder: Path, world: World, console: Console) -> bool:
    receipt = read_receipt(folder) if world.leads else None
    if receipt:
        _check_same_data(recipe, folder, receipt, console)
        console.say(f"already finished: {folder}")
        if not (folder / "report.html").exists():  # killed between the receipt and the report
            write_report(folder)
    return bool(world.from_leader(int(receipt is not None)))


def _check_same_data(recipe: Recipe, folder: Path, receipt: Receipt, console: Console) -> None:
    """Raises DataError where a finished run is asked about another folder with other images.

    Places are not part of a recipe's hash, so the folder name alone cannot tell.
    """
    before = (read_json(folder / "recipe.json") or {}).get("data", {}).get("root", "")
    if expand(before).absolute() == expand(recipe.data.root).absolute():
        return
    listing = list_data(recipe, console)
    prepared = prepare(recipe, listing, this_machine(), console)
    prepared.store.close()
    if not is_same_data(prepared, receipt.data["manifest_sha256"], receipt.data["listing_sha256"]):
        raise DataError(
            f"{folder} holds the finished run of other images ({before or 'the twin'}); "
            "give another --out, or --fresh to set it aside"
        )


def _run_to_the_end(
    recipe: Recipe, folder: Path, console: Console, world: World, replay: Replay
) -> None:
    """Execute; what ends the run is explained in one line and left behind in failure.json."""
    try:
        _execute(recipe, folder, console, world, replay)
    except BaseException as error:
        known = explain(error)
        begun = world.leads and (folder / "recipe.json").exists()
        if known is not None and not isinstance(known, Preempted) and begun:
            steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl")]
            write_failure(folder, known, max(steps, default=0))
        if known is None or known is error:
            raise
        raise known from error


def _execute(recipe: Recipe, folder: Path, console: Console, world: World, replay: Replay) -> None:
    clock = Clock()
    began = time.perf_counter()
    machine = _machine(folder, world)
    check_recipe(recipe, console)
    with world.first_on_each_machine():
        listing = list_data(recipe, console)
    sizes = {name: len(found) for name, found in listing.members.items()}
    plan = make_plan(recipe, machine, train_images=sizes["train"], held_out_images=sizes["val"])
    with world.first_on_each_machine():  # they look at the same disk, and find what the first did
        feed, why = decide_feed(recipe, listing, machine)
    feed, why = _agree(feed, why, world)
    plan = replace(plan, feed=feed, feed_why=why)
    clock.add("data_s", began)
    _check_precision(plan, folder)
    trainer = Trainer(plan, world)  # before the pack: weights that cannot be had are known soon
    if world.leads:
        write_recipe(folder, recipe)
        write_json(folder / "plan.json", plan.to_dict())
        (folder / "failure.json").unlink(missing_ok=True)
    began = time.perf_counter()
    with world.first_on_each_machine():
        prepared = prepare(recipe, listing, machine, console, feed, world)
    clock.add("pack_s", began)
    leaks = (prepared.leaks.say(split) for split in ("val", "test"))
    console.say(f"feed: {feed}: {why}")
    for note in (*plan.notes, *listing.differences, *filter(None, leaks)):
        console.say(f"note: {note}")
    with closing(prepared.store):
        facts = run(plan, trainer, prepared, folder, console, clock, replay)
        close_run(trainer, prepared, folder, console, clock, facts)


def _agree(feed: str, why: str, world: World) -> tuple[str, str]:
    """Every rank streams if one has to: a pack leaves unreadable images out of evaluation before
    ranks share it, a stream marks them afterwards, so shares of both kinds would not meet."""
    if world.any(feed == "stream") and feed != "stream":
        return "stream", "another process has no room for a pack"
    return feed, why


def _check_precision(plan: Plan, folder: Path) -> None:
    """A run does not change its arithmetic on the way, whatever `auto` would choose today."""
    before = (read_json(folder / "plan.json") or {}).get("precision", plan.precision)
    if before != plan.precision and any((folder / "checkpoints").glob("step-*")):
        raise RecipeError(
            f"this run began in {before} and would go on in {plan.precision} on this machine; "
            f"go on where it began, or start over with --precision {plan.precision} --fresh"
        )


def _machine(folder: Path, world: World) -> Machine:
    """This machine, with the thread count that the run began with: part of bit-equality."""
    machine = this_machine(world)
    before = (read_json(folder / "plan.json") or {}).get("machine", {})
    threads = before.get("threads", machine.threads)
    world.wait()  # before the leader writes the plan anew
    same = before.get("world") == machine.world
    return replace(machine, threads=threads) if same else machine


def run(
    plan: Plan,
    trainer: Trainer,
    prepared: Prepared,
    folder: Path,
    console: Console,
    clock: Clock,
    replay: Replay,
) -> dict[str, Any]:
    """Train to the end of the plan -> facts that survive a restart. Raises Preempted."""
    world = trainer.world
    checkpointer = Checkpointer(folder / "checkpoints", world)
    facts = _resume(trainer, prepared, checkpointer, folder, console)
    clock.go_on(facts["seconds"])
    feed = prepared.feed("train", plan.recipe)
    if world.leads:
        evidence.show(folder, trainer, feed)
    tracker = Tracker(folder / "metrics.jsonl" if world.leads else None)
    replay.start()
    journal = Journal(plan, trainer, tracker, console, facts)
    try:
        with Stop() as stop, Sampler(tracker, journal):
            for report in trainer.steps(feed):
                journal.note(report)
                stopping = world.any(bool(stop.asked))
                if report.step in plan.evals:
                    _evaluate(trainer, prepared, folder, journal)
                if report.step in plan.saves or stopping:
                    _pool(prepared, world, facts)
                    facts["seconds"] = clock.read()
                    journal.saved(checkpointer)
                if stopping and report.step < plan.steps:
                    checkpointer.wait()
                    raise Preempted(_farewell(stop, report.step, plan.steps))
    finally:
        _close_both(checkpointer, tracker)
    return facts


def _pool(prepared: Prepared, world: World, facts: dict[str, Any]) -> None:
    """What a stream found unreadable so far, on any rank: it stays known, and may be too much."""
    if prepared.store.mode == "stream":
        prepared.pool_findings(world)
        facts["unreadable"] = sorted(prepared.store.unreadable)


def _farewell(stop: Stop, step: int, steps: int) -> str:
    who = stop.asked or "another process"
    return f"stopped by {who} after step {step} of {steps}, saved; the same command goes on"


def _close_both(checkpointer: Checkpointer, tracker: Tracker) -> None:
    try:
        checkpointer.close()  # it may have failed to write
    finally:
        tracker.close()


def _resume(
    trainer: Trainer, prepared: Prepared, checkpointer: Checkpointer, folder: Path, console: Console
) -> dict[str, Any]:
    data, listed = prepared.data_sha256, prepared.listing.manifest.listing_sha256
    saved = checkpointer.restore()
    step = saved.step if saved else 0
    if saved and not is_same_data(
        prepared, saved.facts["data_sha256"], saved.facts["listing_sha256"]
    ):
        raise DataError(
            "the images or labels are not those that this run began with; bring them back, "
            "or start over with --fresh"
        )
    undone = rewind(folder / "metrics.jsonl", step) if trainer.world.leads else 0
    if saved is None:
        start = {"data_sha256": data, "listing_sha256": listed, "torch": torch.__version__}
        return start | {"best": None, "train_s": 0.0, "seconds": {}, "unreadable": []}
    trainer.load(saved.tensors, step)
    prepared.recall(saved.facts["unreadable"])
    later = f"; {undone} later lines of metrics set aside, they are trained again" if undone else ""
    console.say(f"going on after step {step}{later}")
    if saved.facts["torch"] != torch.__version__:
        console.say(
            f"note: the run began with torch {saved.facts['torch']} and goes on with "
            f"{torch.__version__}: the weights may differ in their last bits"
        )
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
