"""kill -9 of the real process: the same command goes on and ends in the same weights."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import write_pictures

ROOT = Path(__file__).parent.parent

FILE = """
from pictures import small_recipe
recipe = small_recipe({root!r}, batch=4, epochs=40, save_epochs=1)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survive")
    root = write_pictures(folder / "data")
    path = folder / "recipe.py"
    path.write_text(FILE.format(root=str(root)))
    return path


def start(recipe: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "foveate", "train", str(recipe), "--out", str(out)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": paths}
        )


def finish(process: subprocess.Popen, out: Path) -> dict:
    assert process.wait(300) == 0, out.with_suffix(".log").read_text()
    return json.loads((out / "receipt.json").read_text())


def steps_done(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_text().count('"kind": "step"') if path.exists() else 0


def test_a_process_killed_at_random_moments_ends_in_the_same_weights(recipe, tmp_path):
    clean = finish(start(recipe, tmp_path / "clean"), tmp_path / "clean")
    chance = random.Random(0)
    out = tmp_path / "killed"
    for _ in range(3):
        process, before, limit = start(recipe, out), steps_done(out), time.monotonic() + 120
        while steps_done(out) <= before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        process.wait(60)
    killed = finish(start(recipe, out), out)
    log = out.with_suffix(".log").read_text()
    assert "going on after step" in log, "at least one kill came after a save"
    assert killed["weights_sha256"] == clean["weights_sha256"]
    assert killed["scores"] == clean["scores"]


def test_sigterm_saves_exits_143_and_says_so_in_one_line(recipe, tmp_path):
    out = tmp_path / "run"
    process = start(recipe, out)
    limit = time.monotonic() + 120
    while steps_done(out) < 1 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    log = out.with_suffix(".log").read_text()
    assert "stopped by SIGTERM" in log and "Traceback" not in log
    assert list((out / "checkpoints").glob("step-*"))
