"""`metrics.jsonl`: the one true record of a run, a JSON object a line."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Tracker:
    """Appends lines to `metrics.jsonl`; what it has written is on the disk when `sync` returns.

    Without a path it writes nothing: on every rank but the leader. Any thread may log. MLflow is
    a replay of this file (`replay.py`): nothing here waits for it.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = open(path or os.devnull, "a")  # noqa: SIM115 - open for the whole run
        self._durable = path is not None
        self._one_at_a_time = threading.Lock()

    def log(self, kind: str, step: int, **values: Any) -> None:
        """One line. Values are plain, seconds and shares, never tensors; `at`: s since 1970."""
        facts = {"kind": kind, "step": step, "at": round(time.time(), 3), **values}
        with self._one_at_a_time:
            self._file.write(json.dumps(facts) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Wait until every line is on the disk; before a checkpoint claims they are."""
        if self._durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line; a line that a kill cut short is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue
    return whole


def rewind(path: Path, step: int) -> int:
    """Cut the record to `step`; what came later is kept in `metrics.undone.jsonl`.

    Those steps are trained again, bit for bit. Returns how many lines were set aside.
    """
    lines = read_metrics(path)
    kept = [line for line in lines if line["step"] <= step]
    undone = [line for line in lines if line["step"] > step]
    if undone:
        with open(path.with_name("metrics.undone.jsonl"), "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in undone)
    beside = path.with_name(path.name + ".partial")
    beside.write_text("".join(json.dumps(line) + "\n" for line in kept))
    beside.replace(path)
    return len(undone)
