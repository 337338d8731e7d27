"""What a verb refuses before it starts: places it could not write, folders that are no run."""

from __future__ import annotations

import os
from pathlib import Path

from ...dataloaders.errors import StorageError
from ..failure import RecipeError

OF_A_RUN = (
    *("recipe.json", "plan.json", "metrics.", "receipt.json", "failure.json", "report.html"),
    *("checkpoints", "weights", "evidence", "lock", ".report.html.", "mlflow.json", "mlflow.lock"),
)
"""How the names begin that a run writes."""


def check_run(folder: Path) -> None:
    """Raises RecipeError unless `recipe.json` says that this folder is a run of ours."""
    from ..run.folder import read_json

    facts = read_json(folder / "recipe.json") if folder.is_dir() else None
    if not isinstance(facts, dict) or not {"format", "hash", "identity"} <= facts.keys():
        raise RecipeError(f"{folder} is no run folder; `foveate runs ls` lists them")


def check_removable(folder: Path) -> None:
    """Raises RecipeError unless the folder is a run and holds nothing else.

    `train --out .` makes a run folder of somebody's project; deleting that would be the end of it.
    """
    check_run(folder)
    strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith(OF_A_RUN))
    if strangers:
        raise RecipeError(
            f"{folder} holds more than a run ({', '.join(strangers[:3])}); "
            "nothing is deleted, move those away first"
        )


def check_output(path: str | None) -> None:
    """Raises StorageError where a --json file could not be written, before hours of work."""
    if not path or path == "-":
        return
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise StorageError(f"--json {path}: there is no folder {folder}; make it, or give another")
    if Path(path).is_dir():
        raise StorageError(f"--json {path} is a folder; give the name of a file")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise StorageError(f"--json {path} cannot be written; give another path")
