"""What can end a run, the exit code each ends it with, and the `failure.json` that stays behind."""

from __future__ import annotations

import errno
import json
import sys
import time
from pathlib import Path

from ..dataloaders.errors import FoveateError, StorageError

EXIT_CODES = {
    0: "done",
    1: "a fault of foveate's own; from doctor: an installation that cannot train",
    2: "unknown verb or flag",
    10: "a recipe field is unknown, of the wrong type or impossible",
    20: "data missing, damaged or not what the recipe says",
    30: "out of memory",
    40: "communication between processes, or with a tracking server, failed",
    50: "storage full, read-only or damaged",
    60: "the loss is not a number",
    143: "stopped on request after a save; the same command goes on",
}


class UsageError(FoveateError):
    """The command line names no such verb or flag."""

    exit_code = 2


class RecipeError(FoveateError):
    """A recipe, or an override of it, is wrong."""

    exit_code = 10


class NumericalError(FoveateError):
    """Training left the numbers."""

    exit_code = 60


class TrackingError(FoveateError):
    """MLflow could not be brought up to date. Never raised by `fit`: training does not need it."""

    exit_code = 40

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final
        """Whether trying again later is of no use."""


class Preempted(FoveateError):
    """The run was asked to stop, and did after saving."""

    exit_code = 143


def explain(error: BaseException) -> FoveateError | None:
    """The one-line error a person should see for `error`; None where it is a bug of ours."""
    if isinstance(error, FoveateError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return StorageError(f"{error.strerror}: {error.filename or 'the run folder'}; free space")
    torch = sys.modules.get("torch")  # importing it here would cost `foveate --help` 3 s
    memory = (MemoryError, torch.OutOfMemoryError) if torch else (MemoryError,)
    if isinstance(error, memory):
        return _OutOfMemory(
            "out of memory; give a smaller --norm-group (with the same --batch) or a smaller --size"
        )
    if torch and isinstance(error, torch.distributed.DistError):
        return _Communication(f"processes lost each other: {error}")
    return None


def write_failure(folder: Path, error: FoveateError, step: int) -> None:
    """Leave `failure.json` in the run folder, if the disk still takes it."""
    facts = {
        "format": 1,
        "kind": type(error).__name__.lstrip("_"),
        "exit_code": error.exit_code,
        "message": str(error),
        "step": step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    try:
        (folder / "failure.json").write_text(json.dumps(facts, indent=1))
    except OSError:
        return  # the disk is what failed


class _OutOfMemory(FoveateError):
    exit_code = 30


class _Communication(FoveateError):
    exit_code = 40
