"""What a run left behind: its folder read into one value, whole or partial."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .markup import number

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """The files of one run folder. A file that is not there yet is an empty mapping or list."""

    folder: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    receipt: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0  # lines of metrics.jsonl, other than a cut last one, that are not JSON

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The metrics of one kind (`step`, `eval`, `event`), in the order they were written."""
        return [row for row in self.metrics if row.get("kind") == kind]

    @property
    def name(self) -> str:
        """The recipe's name as one types it: `oct2017:quickstart`."""
        return str(self.receipt.get("recipe") or self.recipe.get("name") or "unnamed recipe")

    @property
    def recipe_hash(self) -> str:
        """The hash of the recipe, from the receipt or, before there is one, from the plan."""
        return str(self.receipt.get("recipe_hash") or self.plan.get("recipe_hash") or "")


def read_run(folder: Path) -> Run:
    """Read a run folder; missing files are fine.

    Raises ValueError when a file is not JSON or was written in a newer format.
    """
    metrics, unreadable = read_metrics(folder / "metrics.jsonl")
    files = {
        name: read_object(folder / f"{name}.json")
        for name in ("recipe", "plan", "receipt", "failure")
    }
    return Run(folder, **files, metrics=metrics, unreadable=unreadable)


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object; empty when there is no such file. Raises ValueError as `read_run` does."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not readable as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds a {type(found).__name__}, not an object")
    refuse_newer(path.name, found)
    return found


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of metrics.jsonl, each with a `clock_s` that never runs backwards.

    A last line without its newline was cut by a kill and is ignored. Returns the rows and how
    many other lines could not be read.
    """
    if not path.exists():
        return [], 0
    lines = path.read_bytes().split(b"\n")
    rows, unreadable = [], 0
    for place, line in enumerate(lines):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            unreadable += place < len(lines) - 1
            continue
        if isinstance(row, dict):
            refuse_newer(path.name, row)
            rows.append(row)
    run_clock(rows)
    return rows, unreadable


def run_clock(rows: list[dict[str, Any]]) -> None:
    """Write `clock_s` into the rows: `time_s`, carried on where a resumed run began again at 0."""
    carried_s, last_s = 0.0, 0.0
    for row in rows:
        time_s = number(row.get("time_s"))
        time_s = time_s if math.isfinite(time_s) else last_s
        resumed = row.get("event") == "resumed" and time_s < last_s
        if resumed or time_s < last_s - 1:  # an evaluation may be logged late, but not by a second
            carried_s, last_s = carried_s + last_s, 0.0
        last_s = max(last_s, time_s)
        row["clock_s"] = carried_s + time_s


def refuse_newer(name: str, found: dict[str, Any]) -> None:
    """Raise ValueError when the object says it was written in a format this code cannot know."""
    written = number(found.get("format", FORMAT))
    if written > FORMAT:
        raise ValueError(
            f"{name} has format {written:g}; this foveate reads up to {FORMAT}: "
            "update foveate to report on this run"
        )
