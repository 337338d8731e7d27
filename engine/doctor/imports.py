"""Running `probe.py`: packages are imported elsewhere, under a time limit, in two lanes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROBE = Path(__file__).with_name("probe.py")
LIMIT_S = 60.0
"""For one process; a cold network disk takes half a minute to import torch."""
SLOW = ("torch", "torchvision", "deepspeed", "nvidia.dali")
"""One lane: half of the time goes into these."""


@dataclass(frozen=True)
class Imported:
    """How the import of one package went."""

    version: str = ""
    error: str = ""
    """First line of what it failed with; empty where it did not."""
    missing: bool = False
    """It is not installed at all."""
    facts: dict[str, Any] = field(default_factory=dict)


def import_all(modules: Sequence[str], limit_s: float = LIMIT_S) -> dict[str, Imported]:
    """Import every module in two processes side by side; crashes and hangs become errors."""
    lanes = [[m for m in modules if (m in SLOW) is slow] for slow in (True, False)]
    with ThreadPoolExecutor(len(lanes)) as pool:
        found = list(pool.map(lambda lane: _import_lane(lane, limit_s), lanes))
    return {name: result for lane in found for name, result in lane.items()}


def _import_lane(modules: list[str], limit_s: float) -> dict[str, Imported]:
    """One process; a new one for the rest after each package that ends it."""
    found: dict[str, Imported] = {}
    while left := [name for name in modules if name not in found]:
        lines, end = _run_probe(left, limit_s)
        for line in lines:
            if "module" in line:
                name = line.pop("module")
                found[name] = Imported(**{k: v for k, v in line.items() if k != "seconds"})
        begun = [line["begins"] for line in lines if "begins" in line]
        culprit = next((name for name in begun if name not in found), None)
        if culprit is None and begun:
            continue
        found[culprit or left[0]] = Imported(error=end)
    return found


def _run_probe(modules: list[str], limit_s: float) -> tuple[list[dict[str, Any]], str]:
    """(what the process told, how it ended)."""
    read, write = os.pipe()
    asked = {"path": [p or os.getcwd() for p in sys.path], "modules": modules, "report": write}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "DS_ACCELERATOR": "cpu"}
    with subprocess.Popen(
        [sys.executable, "-P", str(PROBE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write,),
        env=quiet | dict(os.environ),
        start_new_session=True,
    ) as process:
        os.close(write)
        try:
            process.communicate(json.dumps(asked).encode(), timeout=limit_s)
            end = _say_end(process.returncode)
        except subprocess.TimeoutExpired:
            end = f"hangs: not imported after {limit_s:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)  # its children too: it leads a session
    os.set_blocking(read, False)  # a process that a package left behind may hold the other end
    with open(read, "rb", buffering=0) as told:
        lines = (told.readall() or b"").splitlines()
    return [json.loads(line) for line in lines], end


def _say_end(code: int) -> str:
    if code < 0:
        return f"crashes: the import ends with {signal.Signals(-code).name}"
    return f"ends Python with exit code {code}"
