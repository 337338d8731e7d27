"""Two processes through `foveate launch local`: one run folder, one voice, one exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import write_pictures

from foveate.engine.launch import exit_code
from foveate.engine.run.folder import read_json
from foveate.engine.tracking.metrics import read_metrics

ROOT = Path(__file__).parent.parent
FILE = """
from pictures import small_recipe
recipe = small_recipe({root!r}, batch=8, norm_group=4, epochs=30, save_epochs=1)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    path = folder / "recipe.py"
    path.write_text(FILE.format(root=str(write_pictures(folder / "data"))))
    return path


def launch(recipe: Path, out: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "foveate", "launch", "local", "--nproc", "2", str(recipe)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(
            [*command, "--out", str(out), *words],
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": paths},
        )


def wait_for_steps(process: subprocess.Popen, out: Path, count: int) -> None:
    limit = time.monotonic() + 180
    while len(read_metrics(out / "metrics.jsonl")) < count and time.monotonic() < limit:
        assert process.poll() is None, out.with_suffix(".log").read_text()
        time.sleep(0.05)


def ranks_of(launcher: int) -> list[int]:
    """Process ids of the ranks, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == launcher:
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def clean(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "clean"
    assert launch(recipe, out).wait(240) == 0, out.with_suffix(".log").read_text()
    return out


def test_two_processes_write_one_run(clean):
    receipt = read_json(clean / "receipt.json")
    assert receipt["identity"]["world"] == 2
    assert read_json(clean / "plan.json")["strategy"] == "ddp"
    assert receipt["scores"]["test"]["images"] == 9
    steps = [line["step"] for line in read_metrics(clean / "metrics.jsonl") if "loss" in line]
    assert steps == sorted(set(steps)) and len(steps) > 10
    said = clean.with_suffix(".log").read_text()
    assert said.count("\nreport ") == 1 and "Traceback" not in said


def test_a_stop_of_both_saves_once_and_the_same_command_ends_in_the_same_weights(
    recipe, clean, tmp_path
):
    out = tmp_path / "run"
    process = launch(recipe, out)
    wait_for_steps(process, out, 8)
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 143
    assert out.with_suffix(".log").read_text().count("the same command goes on") == 1
    assert launch(recipe, out).wait(240) == 0
    one, other = (json.loads((p / "receipt.json").read_text()) for p in (clean, out))
    assert one["weights_sha256"] == other["weights_sha256"]
    assert one["scores"] == other["scores"]


def test_a_killed_rank_ends_the_run_with_40_and_the_same_command_goes_on(recipe, clean, tmp_path):
    out = tmp_path / "run"
    process = launch(recipe, out)
    wait_for_steps(process, out, 12)
    os.kill(max(ranks_of(process.pid)), signal.SIGKILL)
    assert process.wait(90) == 40, out.with_suffix(".log").read_text()
    assert launch(recipe, out).wait(240) == 0
    one, other = (json.loads((p / "receipt.json").read_text()) for p in (clean, out))
    assert one["weights_sha256"] == other["weights_sha256"]


def test_a_mistake_is_answered_before_any_process_starts(recipe, tmp_path):
    out = tmp_path / "run"
    assert launch(recipe, out, "--optimizer.lrr", "3").wait(60) == 10
    said = out.with_suffix(".log").read_text()
    assert "did you mean --optimizer.lr" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("codes", "run"),
    [
        ({0: 0, 1: 0}, 0),
        ({0: 143, 1: 143}, 143),
        ({0: 40, 1: 20}, 20),
        ({0: 40}, 40),
        ({0: 0}, 40),
        ({}, 40),
    ],
)
def test_the_code_of_a_run_is_the_first_error_of_its_own(tmp_path, codes, run):
    for rank, code in codes.items():
        (tmp_path / str(rank)).write_text(str(code))
    assert exit_code(tmp_path, 2) == run
