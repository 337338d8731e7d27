"""Everything that needs a card, proved in under 8 minutes on a machine that has torch and little
else: no network, no installation of this project, packages perhaps missing.

    python benchmarks/gpu_check.py --out DIR   exit 0 all well, 1 a stage failed, 3 no card
    ... --rehearse                             every stage that can run without one, tiny

First what needs none of our code (copy bandwidth, matrix rate, CUDA JPEG decoding, ResNet-50
eager, compiled and as a graph, beside the roofline), then every kernel against its reference and
its speed, device tests, and the OCT runs. Each stage is a process of its own with a time limit, so
an error, an abort or a full memory ends that stage alone. DIR/<card>_<date>.json is written after
each: rows, what was skipped and why, what failed, and clocks and power of the card; DIR/log.txt has
all that the stages said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 470.0
PATIENCE = 5.0  # a rehearsal proves the script, not the machine: it may be slow
NO_CARD = 3
ASKED = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
STANDING = ("name", "driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit", "mig.mode")


@dataclass(frozen=True)
class Stage:
    """One process: `script NAME --json PATH --so-far PATH [--rehearse]`."""

    name: str
    script: str
    limit_s: float


STAGES = (
    Stage("identity", "gpu_stages.py", 60),
    Stage("copy", "gpu_stages.py", 30),
    Stage("matrix", "gpu_stages.py", 40),
    Stage("decode", "gpu_stages.py", 60),
    Stage("decoders", "gpu_decoders.py", 90),
    Stage("eager", "gpu_resnet.py", 60),
    Stage("graph", "gpu_resnet.py", 50),
    Stage("compiled", "gpu_resnet.py", 120),
    Stage("kernels", "gpu_kernels.py", 90),
    Stage("speed", "gpu_kernels.py", 60),
    Stage("tests", "gpu_runs.py", 120),
    Stage("quickstart", "gpu_runs.py", 100),
    Stage("faithful", "gpu_runs.py", 60),
    Stage("fast", "gpu_runs.py", 60),
)


def main() -> int:
    """Run the stages in order; returns the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--out", type=Path, required=True, help="folder for results and log")
    options.add_argument("--rehearse", action="store_true", help="tiny sizes, no card needed")
    options.add_argument("--only", nargs="+", default=(), choices=[s.name for s in STAGES])
    asked = options.parse_args()
    if not asked.rehearse and not sees_card():
        print("gpu_check: torch sees no CUDA device here; --rehearse runs what needs none")
        return NO_CARD
    check = Check(asked.out, asked.rehearse)
    chosen = [s for s in STAGES if not asked.only or s.name in ("identity", *asked.only)]
    for stage in chosen:
        check.run(stage)
    return 1 if check.result["failed"] else 0


class Check:
    """The results so far, and how a stage adds to them."""

    def __init__(self, out: Path, rehearse: bool) -> None:
        self.out, self.rehearse = out.absolute(), rehearse
        self.out.mkdir(parents=True, exist_ok=True)
        self.patience = PATIENCE if rehearse else 1.0
        self.end = time.monotonic() + self.patience * BUDGET_S
        self.result: dict[str, Any] = {
            "format": 1,
            "rehearsal": rehearse,
            "identity": {"card": query(STANDING)},
            "facts": {},
            "rows": [],
            "stages": [],
            "skipped": [],
            "failed": [],
        }

    @property
    def path(self) -> Path:
        """`DIR/<card>_<date>.json`."""
        card = "rehearsal" if self.rehearse else self.result["identity"].get("gpu", "unknown")
        name = "".join(c if c.isalnum() else "-" for c in card.lower())
        return self.out / f"{name}_{time.strftime('%Y-%m-%d')}.json"

    def run(self, stage: Stage) -> None:
        """One stage to its end, its limit, or the end of the time; results are on disk after."""
        left = self.end - time.monotonic()
        if left < 5:
            self._skip(stage.name, "no time was left")
        else:
            found = self.out / f"{stage.name}.partial.json"
            found.unlink(missing_ok=True)
            command = [sys.executable, str(ROOT / "benchmarks" / stage.script), stage.name]
            command += ["--json", str(found), "--so-far", str(self.path), "--out", str(self.out)]
            command += ["--rehearse"] if self.rehearse else []
            code, facts = self.execute(command, min(self.patience * stage.limit_s, left))
            self._take(stage.name, found, code, facts)
        self.path.write_text(json.dumps(self.result, indent=1) + "\n")

    def execute(self, command: Sequence[str], limit_s: float) -> tuple[int | None, dict[str, Any]]:
        """Run a command -> (exit code, None past its limit; seconds and the card's extremes)."""
        paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
        place = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        began, readings = time.monotonic(), []
        with open(self.out / "log.txt", "ab") as log:
            log.write(f"\n== {Path(command[1]).name} {command[2]}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=place, start_new_session=True
            )
            code = None
            while code is None and time.monotonic() - began < limit_s:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(min(1.0, limit_s))
                readings.append(query(ASKED))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # also what an ended stage left running
            process.wait()
        return code, {"seconds": round(time.monotonic() - began, 1), "card": extremes(readings)}

    def _take(self, name: str, found: Path, code: int | None, facts: dict[str, Any]) -> None:
        """Rows and facts that the stage wrote before it ended, however it ended."""
        said: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(found.read_text())
        found.unlink(missing_ok=True)
        self.result["rows"] += said.get("rows", [])
        self.result["facts"] |= said.get("facts", {})
        self.result["identity"] |= said.get("identity", {})
        for reason in said.get("skipped", []):
            self._skip(name, reason)
        problems = list(said.get("failed", []))
        if code is None:
            problems.append(f"stopped after {facts['seconds']:g} s, its limit or the end of time")
        elif code:
            problems.append(f"ended with {code}; log.txt has its last words")
        for problem in problems:
            self.result["failed"].append({"stage": name, "reason": problem})
            print(f"{name}: FAILED, {problem}", flush=True)
        self.result["stages"].append({"stage": name, "exit": code, **facts})
        rows = len(said.get("rows", []))
        print(f"{name}: {rows} rows in {facts['seconds']:g} s", flush=True)

    def _skip(self, name: str, reason: str) -> None:
        self.result["skipped"].append({"stage": name, "reason": reason})
        print(f"{name}: skipped, {reason}", flush=True)


def sees_card() -> bool:
    """Asked in another process: this one never opens the card."""
    asking = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", asking], check=False).returncode == 0


def query(fields: Sequence[str]) -> dict[str, str]:
    """What nvidia-smi says of the first card; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = done.stdout.splitlines()[0].split(",") if done.stdout else []
    return {name: value.strip() for name, value in zip(fields, values, strict=False)}


def extremes(readings: Sequence[dict[str, str]]) -> dict[str, list[float]]:
    """Field -> smallest and largest of the readings that are numbers."""
    found: dict[str, list[float]] = {}
    for reading in readings:
        for name, value in reading.items():
            with contextlib.suppress(ValueError):  # "[N/A]"
                number = float(value)
                found.setdefault(name, []).append(number)
    return {name: [min(values), max(values)] for name, values in found.items()}


if __name__ == "__main__":
    sys.exit(main())
