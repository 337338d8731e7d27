"""How a stage of gpu_check times and tells: synchronised blocks, their median and its interval."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from compare import interval

REPEATS = 11
BLOCK_S, WARM_S = 0.1, 0.4


class Report:
    """What a stage found, on disk after every row: a stage that is killed loses no row."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.path, self.out, self.rehearse = asked.json, asked.out, asked.rehearse
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.before: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self.before = json.loads(asked.so_far.read_text()).get("facts", {})
        self.found: dict[str, Any] = {
            "rows": [],
            "facts": {},
            "identity": {},
            "skipped": [],
            "failed": [],
        }
        self.write()

    def row(
        self,
        what: str,
        value: float,
        unit: str,
        bounds: tuple[float, float] | None = None,
        against: str | None = None,
        theirs: float | None = None,
    ) -> None:
        """A row of the results format; `bounds` are of `value`."""
        low, high = bounds or (None, None)
        row = {"what": what, "ours": value, "against": against, "theirs": theirs, "unit": unit}
        self.found["rows"].append(row | {"low": low, "high": high})
        beside = f", {value / theirs:.0%} of {against} {theirs:.5g}" if theirs else ""
        print(f"{what}: {value:.5g} {unit}{beside}", flush=True)
        self.write()

    def fact(self, **facts: Any) -> None:
        """Numbers that later stages need."""
        self.found["facts"] |= facts
        self.write()

    def skip(self, reason: str) -> None:
        """Something that could not be tried here."""
        self.found["skipped"].append(reason)
        self.write()

    def write(self) -> None:
        """Put everything found so far on disk."""
        self.path.write_text(json.dumps(self.found))

    @contextlib.contextmanager
    def attempt(self, what: str) -> Any:
        """An error within it is noted and ends this attempt only."""
        try:
            yield
        except Exception as error:  # whatever a driver, a compiler or a full memory raises
            traceback.print_exc()
            said = " ".join(str(error).split())[:160]
            self.found["failed"].append(f"{what}: {type(error).__name__}: {said}")
            self.write()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def rate(
    work: Callable[[], Any], amount: float, device: torch.device, rehearse: bool
) -> tuple[float, tuple[float, float]]:
    """(amount a second, bounds of the median): blocks of calls between synchronised edges."""
    repeats, block_s, warm_s = (7, 0.0, 0.0) if rehearse else (REPEATS, BLOCK_S, WARM_S)
    calls = _warm(work, device, warm_s, block_s)
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(calls):
            work()
        synchronize(device)
        seconds.append((time.perf_counter() - began) / calls)
    slow, fast = interval([amount / max(one, 1e-9) for one in seconds])
    return amount / max(statistics.median(seconds), 1e-9), (slow, fast)


def _warm(work: Callable[[], Any], device: torch.device, warm_s: float, block_s: float) -> int:
    """Run until `warm_s` have passed -> calls that fill a block."""
    work()
    synchronize(device)
    began, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - began < warm_s:
        work()
        synchronize(device)
        calls += 1
    return max(1, round(block_s * calls / (time.perf_counter() - began)))


def synchronize(device: torch.device) -> None:
    """Wait for all that was given to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_stage(stages: dict[str, Callable[[Report], None]]) -> None:
    """What a stage script does when it is called: the stage that its first argument names."""
    options = argparse.ArgumentParser()
    options.add_argument("stage", choices=stages)
    options.add_argument("--json", type=Path, required=True)
    options.add_argument("--so-far", type=Path, default=Path())
    options.add_argument("--out", type=Path, default=Path())
    options.add_argument("--rehearse", action="store_true")
    asked = options.parse_args()
    stages[asked.stage](Report(asked))
