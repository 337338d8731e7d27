"""Stages of gpu_check that run this project: its device tests, and OCT runs on drawn images."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from gpu_timing import Report, run_stage

ROOT = Path(__file__).resolve().parent.parent
TWIN = "--data.twin.kind oct --data.twin.train 1600 --data.twin.test 400"
FIELDS = {
    "quickstart": "",
    "faithful": f"{TWIN} --task.weights none --epochs 2",
    "fast": f"{TWIN} --task.weights none --epochs 6",
}
"""Recipe -> its scale here: 1,600 drawn scans, random weights; two of the scores say little."""
TINY = (
    "--data.twin.train 24 --data.twin.test 8 --task.model mobilenet_v3_small --size 32 --batch 8 "
    "--epochs 1"
)


def tests(report: Report) -> None:
    """`pytest -m gpu` on the files that have such tests; others import packages it may lack."""
    if importlib.util.find_spec("pytest") is None:
        report.skip("device tests: pytest is not installed")
        return
    files = [p for p in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout[-6000:], done.stderr[-2000:])
    counts = {
        word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)
    }
    for line in re.findall(r"SKIPPED \[\d+\] (.*)", done.stdout):
        report.skip(f"device test {line}")
    if counts.get("passed"):
        report.row("device tests passed", counts["passed"], "tests")
    bad = counts.get("failed", 0) + counts.get("error", 0)
    if bad or done.returncode not in (0, 5):
        report.found["failed"].append(f"{bad} device tests failed")
        report.write()


def quickstart(report: Report) -> None:
    """The main job, from drawing to the report."""
    train(report, "quickstart")


def faithful(report: Report) -> None:
    """ResNet-50, batch 16, fp32: the run of 2018 on drawn scans."""
    train(report, "faithful")


def fast(report: Report) -> None:
    """ResNet-50, batch 512, bf16, growing resolution."""
    train(report, "fast")


def train(report: Report, variant: str) -> None:
    """One `foveate train`, and rows from its receipt."""
    words = FIELDS[variant].split() + (tiny(variant) if report.rehearse else [])
    folder, cache = report.out / "runs" / variant, report.out / "cache"
    place = os.environ | ({} if report.rehearse else {"FOVEATE_CACHE": str(cache)})
    command = [sys.executable, "-m", "foveate", "train", f"oct2017:{variant}", "--fresh"]
    subprocess.run([*command, "--out", str(folder), *words], cwd=ROOT, env=place, check=True)
    receipt = json.loads((folder / "receipt.json").read_text())
    time, test = receipt["time"], receipt["scores"]["test"]
    what = f"oct2017:{variant}, {receipt['images_seen']:,} image passes, {receipt['precision']}"
    bounds = test["accuracy_low"], test["accuracy_high"]
    report.row(f"{what}: accuracy on drawn scans", test["accuracy"], "share", bounds)
    report.row(f"{what}: training", time["train_s"], "s")
    report.row(f"{what}: start to report", time["total_s"], "s")
    report.row(f"{what}: training", receipt["images_per_s"], "images/s")
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [line["images_per_s"] for line in steps if "images_per_s" in line]
    waits = [line["wait"] for line in steps if "wait" in line]
    report.row(f"{what}: last reading", rates[-1], "images/s")
    report.row(f"{what}: waited for data, last reading", waits[-1], "share")


def tiny(variant: str) -> list[str]:
    """Fields that make a run of seconds on a CPU."""
    sizes = ["--schedule.sizes", "32", "32"] if variant == "quickstart" else []
    if variant == "fast":
        sizes = ["--schedule.sizes", "32", "32", "32", "--norm-group", "8"]
    return [*TINY.split(), *sizes]


if __name__ == "__main__":
    run_stage({"tests": tests, "quickstart": quickstart, "faithful": faithful, "fast": fast})
