"""The main job, as a newcomer runs it: its score, its controls, and ten kills."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHANCE_HIGH = 0.34  # of 400 images in 4 classes; 4 standard deviations above a quarter

# A minute of training each on two free cores; far more where something else runs beside it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def train(variant: str, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "foveate", "train", f"oct2017:{variant}", "--out", str(out)]
    cores = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=cores)


def finish(process: subprocess.Popen, out: Path) -> dict:
    assert process.wait(1500) == 0, out.with_suffix(".log").read_text()[-2000:]
    return json.loads((out / "receipt.json").read_text())


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart") / "clean"
    return finish(train("quickstart", out), out)


def test_the_quickstart_reaches_ninety_percent(clean):
    test = clean["scores"]["test"]
    assert test["images"] == 400
    assert clean["images_seen"] <= 4800
    assert test["accuracy"] >= 0.90
    assert test["accuracy_low"] >= 0.86


def test_shuffled_labels_stay_at_chance(tmp_path):
    out = tmp_path / "control"
    receipt = finish(train("control", out), out)
    assert receipt["scores"]["test"]["accuracy"] <= CHANCE_HIGH


def test_ten_kills_at_random_moments_end_in_the_same_weights(clean, tmp_path):
    out, chance = tmp_path / "killed", random.Random(2018)
    for _ in range(10):
        process = train("quickstart", out)
        time.sleep(chance.uniform(1.0, 15.0))
        process.kill()
        process.wait(60)
    killed = finish(train("quickstart", out), out)
    assert "going on after step" in out.with_suffix(".log").read_text()
    assert killed["weights_sha256"] == clean["weights_sha256"]
    assert killed["scored_sha256"] == clean["scored_sha256"]
    assert killed["scores"] == clean["scores"]
