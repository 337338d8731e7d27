"""The main job, measured: accuracy, seconds and images a second of `oct2017:quickstart`.

    python benchmarks/quickstart.py --seeds 3 --json benchmarks/results/quickstart_<cpu>_<date>.json

Each seed trains from nothing in its own process and folder; the data are drawn and packed once,
by the first. Limits are what the project asks of itself: 90 % right, a minute of training, four
minutes in all on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from foveate.engine.run.identity import identify


def main() -> None:
    """Train every seed and the control, print the rows, write them where --json says."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    identity = identify(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        runs = [train("quickstart", seed, Path(folder)) for seed in range(asked.seeds)]
        control = train("control", 0, Path(folder))
    identity["load_after"] = round(os.getloadavg()[0], 2)
    result = {"format": 1, "identity": identity, "rows": [*rows_of(runs), control_row(control)]}
    for row in result["rows"]:
        print(row["what"], row["ours"], row["unit"])
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


def train(variant: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run in a process of its own -> its receipt, with the process's CPU-seconds."""
    out = folder / f"{variant}-{seed}"
    words = ["-q", "--out", str(out), "--seed", str(seed), "--cache", str(folder / "cache")]
    before, began = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "foveate", "train", f"oct2017:{variant}", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, wall_s = os.times(), time.perf_counter() - began
    receipt = json.loads((out / "receipt.json").read_text())
    used = after.children_user + after.children_system
    receipt["wall_s"] = wall_s
    receipt["cpu_s"] = used - before.children_user - before.children_system
    return receipt


def rows_of(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over seeds with the smallest and largest: the same 400 images, so no pooling."""
    scores = [run["scores"]["test"] for run in runs]
    low = min(s["accuracy_low"] for s in scores)
    again = f"{len(runs) - 1} runs, data there"
    return [
        spread(f"accuracy, {len(runs)} seeds", [s["accuracy"] for s in scores], 0.90, "share"),
        row("lowest end of a seed's 95 % interval", low, 0.86, "share"),
        spread(f"training, {len(runs)} seeds", [run["time"]["train_s"] for run in runs], 60, "s"),
        spread("training speed", [run["images_per_s"] for run in runs], None, "images/s"),
        row("whole command, data drawn first", runs[0]["wall_s"], 240, "s"),
        spread(f"whole command, {again}", [run["wall_s"] for run in runs[1:]], 240, "s"),
        spread(f"whole command, {again}", [run["cpu_s"] for run in runs[1:]], None, "CPU-s"),
    ]


def control_row(run: dict[str, Any]) -> dict[str, Any]:
    """Shuffled labels: accuracy has to be chance."""
    s = run["scores"]["test"]
    low, high = s["accuracy_low"], s["accuracy_high"]
    return row("accuracy on shuffled labels", s["accuracy"], 0.25, "share", low, high, "chance")


def spread(what: str, values: list[float], limit: float | None, unit: str) -> dict[str, Any]:
    """Median, smallest and largest of some runs."""
    return row(what, statistics.median(values), limit, unit, min(values), max(values))


def row(
    what: str,
    ours: float,
    limit: float | None,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    against: str = "limit",
) -> dict[str, Any]:
    """One row of a results file: `low` and `high` bound `ours`; `theirs` is what it is held to."""
    return {
        "what": what,
        "ours": round(ours, 4),
        "against": against if limit is not None else None,
        "theirs": limit,
        "unit": unit,
        "low": None if low is None else round(low, 4),
        "high": None if high is None else round(high, 4),
    }


if __name__ == "__main__":
    main()
