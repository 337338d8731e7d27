"""Verbs about run folders: list, show, remove, write the report again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..dataloaders.errors import StorageError
from .guards import check_removable, check_run


def runs_ls(known: Namespace) -> int:
    """`foveate runs ls [FOLDER]`"""
    if known.folder != Path("runs") and not known.folder.is_dir():
        raise StorageError(f"no folder {known.folder}; `foveate train --out` makes run folders")
    for path in sorted(known.folder.glob("*/recipe.json")):
        print(f"{path.parent!s:44} {_standing(path.parent)}".rstrip())
    return 0


def _standing(folder: Path) -> str:
    """How far a run is, in one line; a damaged one says so and hides no other."""
    from .runs import describe_run

    try:
        run = describe_run(folder)
    except StorageError:
        return f"damaged    `foveate runs show {folder}` says how"
    score = f"{run.accuracy:.2%}" if run.accuracy is not None else ""
    return f"{run.state:9} {run.step:>7}/{run.steps:<7} {score}"


def runs_show(known: Namespace) -> int:
    """`foveate runs show FOLDER`"""
    from .receipt import read_receipt
    from .runs import describe_run, read_json

    check_run(known.folder)
    receipt = read_receipt(known.folder)
    if receipt:
        print(receipt.describe())
        return 0
    run = describe_run(known.folder)
    failure = read_json(known.folder / "failure.json") or {}
    print(f"{run.folder}  {run.recipe}  {run.state} after step {run.step} of {run.steps}")
    print(failure.get("message", f"`foveate train` with --out {run.folder} goes on"))
    return 0


def runs_rm(known: Namespace) -> int:
    """`foveate runs rm FOLDER`"""
    from .runs import remove_run

    check_removable(known.folder)
    remove_run(known.folder.resolve())
    print(f"removed {known.folder}")
    return 0


def report(known: Namespace) -> int:
    """`foveate report RUN`"""
    from .report import write_report

    check_run(known.folder)
    try:
        print(write_report(known.folder))
    except ValueError as error:  # a file that is not JSON, or of a newer format
        raise StorageError(f"{known.folder}: {error}; the report cannot be made of it") from None
    return 0
