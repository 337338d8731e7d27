"""Run folders: one run each, one process at a time, never written over by another recipe.

runs/<recipe>-<hash>/recipe.json plan.json metrics.jsonl checkpoints/ weights/ evidence/
                     report.html receipt.json failure.json(if any)
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...dataloaders.errors import StorageError
from ..checkpoint import replace_durably
from ..classification import Classification
from ..failure import RecipeError
from ..recipe import Recipe, differences, from_dict, identity, recipe_hash, to_dict
from ..tracking.metrics import read_metrics
from ..verbs.guards import check_removable
from .command import command_of

TASKS = {"Classification": Classification}
"""Kind of task, as `recipe.json` names it -> its class."""


def default_folder(recipe: Recipe) -> Path:
    """`runs/<recipe>-<hash>` under the current folder."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", recipe.name)
    return Path("runs") / f"{name}-{recipe_hash(recipe)[:8]}"


@contextmanager
def hold_folder(folder: Path, recipe: Recipe, fresh: bool) -> Iterator[None]:
    """The run's folder, made if need be, with its lock held and its recipe checked.

    `fresh` renames what is there. Raises RecipeError where another recipe's run lies there, and
    StorageError where another process is at work in it or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "w")  # noqa: SIM115 - held until the run ends
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}; give --out FOLDER") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(
                f"another process is training in {folder}; wait for it, or give another --out"
            ) from None
        if fresh:
            _set_aside(folder)
        try:
            _check_recipe(folder, recipe)
            yield
        finally:
            _leave(folder)


def _leave(folder: Path) -> None:
    """A run that was refused before it wrote anything leaves no folder behind."""
    if [path.name for path in folder.iterdir()] == ["lock"]:
        (folder / "lock").unlink()
        folder.rmdir()


def _set_aside(folder: Path) -> None:
    """Rename everything in the folder but its lock into the next free `<folder>.old-N`."""
    kept = [path for path in folder.iterdir() if path.name != "lock"]
    if kept:
        number = 1
        while (old := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        old.mkdir()
        for path in kept:
            path.rename(old / path.name)


def _check_recipe(folder: Path, recipe: Recipe) -> None:
    there = read_json(folder / "recipe.json")
    if there is None or there.get("hash") == recipe_hash(recipe):
        return
    changed = differences(there.get("identity", {}), identity(recipe))
    raise RecipeError(
        f"{folder} holds a run of another recipe ({'; '.join(changed[:4]) or 'unknown'}); "
        "give another --out, or --fresh to set that run aside"
    )


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """`recipe.json`: the whole recipe, its hash, and the part that is hashed."""
    facts = {
        "hash": recipe_hash(recipe),
        "identity": identity(recipe),
        "command": command_of(recipe),
    }
    write_json(folder / "recipe.json", to_dict(recipe) | facts)


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a run folder, as it was. Raises RecipeError where there is none."""
    facts = read_json(folder / "recipe.json")
    if facts is None:
        raise RecipeError(f"{folder} is no run folder; `foveate runs ls` lists them")
    kind = facts.get("task", {}).get("kind")
    if kind not in TASKS:
        raise StorageError(f"{folder} holds a task of kind {kind}; a newer foveate made it")
    return from_dict(facts, TASKS[kind])


def write_json(path: Path, facts: dict[str, Any]) -> None:
    """Durable and whole: a kill leaves the old file or the new one."""
    replace_durably(path, json.dumps(facts, indent=1).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no file. Raises StorageError where it is damaged."""
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise ValueError("not an object")
        return facts
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); start over with --fresh") from None


@dataclass(frozen=True)
class Run:
    """One line of `foveate runs ls`."""

    folder: Path
    recipe: str
    state: str
    """finished, failed, or stopped (the same command goes on)."""
    step: int
    steps: int
    accuracy: float | None


def describe_run(folder: Path) -> Run:
    """Where a run stands, from its folder alone."""
    recipe = read_json(folder / "recipe.json") or {}
    plan = read_json(folder / "plan.json") or {}
    receipt = read_json(folder / "receipt.json")
    lines = read_metrics(folder / "metrics.jsonl")
    failed = (folder / "failure.json").exists()
    scores = (receipt or {}).get("scores", {})
    best = scores.get("test", scores.get("val", {}))
    return Run(
        folder=folder,
        recipe=recipe.get("name", "unknown"),
        state="finished" if receipt else "failed" if failed else "stopped",
        step=max((line["step"] for line in lines), default=0),
        steps=plan.get("steps", 0),
        accuracy=best.get("accuracy"),
    )


def remove_run(folder: Path) -> None:
    """Delete a run folder that holds nothing else and that nobody is training in.

    Raises RecipeError where it is no run or holds more than one, StorageError where it is in use.
    """
    check_removable(folder)
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"a process is training in {folder}; stop it first") from None
        shutil.rmtree(folder)
