"""Verbs about run folders: list, show, remove, write the report again."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from ...dataloaders.errors import StorageError
from .answer import write_answer
from .guards import check_output, check_removable, check_run


def ls(known: Namespace) -> int:
    """`foveate runs ls [FOLDER]`"""
    if known.folder != Path("runs") and not known.folder.is_dir():
        raise StorageError(f"no folder {known.folder}; `foveate train --out` makes run folders")
    for path in sorted(known.folder.glob("*/recipe.json")):
        print(f"{path.parent!s:44} {_standing(path.parent)}".rstrip())
    return 0


def _standing(folder: Path) -> str:
    """How far a run is, in one line; a damaged one says so and hides no other."""
    from ..run.folder import describe_run

    try:
        run = describe_run(folder)
    except StorageError:
        return f"damaged    `foveate runs show {folder}` says how"
    score = f"{run.accuracy:.2%}" if run.accuracy is not None else ""
    return f"{run.state:9} {run.step:>7}/{run.steps:<7} {score}"


def show(known: Namespace) -> int:
    """`foveate runs show RUN [OTHER]`"""
    from ..run.receipt import read_receipt

    check_output(known.json)
    check_run(known.folder)
    if known.other is not None:
        return _compare(known)
    receipt = read_receipt(known.folder)
    if write_answer(known.json, receipt.to_dict() if receipt else _unfinished(known.folder)):
        return 0
    print(receipt.describe() if receipt else _say_unfinished(known.folder))
    return 0


def _compare(known: Namespace) -> int:
    from ..report.comparison import compare_runs
    from ..report.side_by_side import describe_comparison

    check_run(known.other)
    answer = compare_runs(known.folder, known.other)
    if not write_answer(known.json, answer):
        print(describe_comparison(answer))
    return 0


def _unfinished(folder: Path) -> dict[str, Any]:
    """How far a run without a receipt is, and what stopped it, as plain values."""
    from ..run.folder import describe_run, read_json

    run = describe_run(folder)
    facts = {"recipe": run.recipe, "state": run.state, "step": run.step, "steps": run.steps}
    return {"format": 1, **facts, "failure": read_json(folder / "failure.json")}


def _say_unfinished(folder: Path) -> str:
    from ..run.folder import read_json

    run = _unfinished(folder)
    where = f"{folder}  {run['recipe']}  {run['state']} after step {run['step']} of {run['steps']}"
    command = shlex.join((read_json(folder / "recipe.json") or {}).get("command", []))
    again = f"`{command} --out {shlex.quote(str(folder))}` goes on"
    return f"{where}\n{(run['failure'] or {}).get('message', again)}"


def rm(known: Namespace) -> int:
    """`foveate runs rm FOLDER`"""
    from ..run.folder import remove_run

    check_removable(known.folder)
    remove_run(known.folder.resolve())
    print(f"removed {known.folder}")
    return 0


def sync(known: Namespace) -> int:
    """`foveate runs sync RUN [--tracking URI]`"""
    check_run(known.folder)
    from ..tracking.replay import sync_run

    print(sync_run(known.folder, known.tracking))
    return 0


def report(known: Namespace) -> int:
    """`foveate report RUN`"""
    from ..report.write import write_report

    check_run(known.folder)
    try:
        print(write_report(known.folder))
    except ValueError as error:  # a file that is not JSON, or of a newer format
        raise StorageError(f"{known.folder}: {error}; the report cannot be made of it") from None
    return 0
