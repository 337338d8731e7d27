"""gpu_check without a card: every stage that can run does, and no stage ends another."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import gpu_check
import gpu_kernels
import pytest
import roofline
import torch
from gpu_check import Check, Stage

from foveate.kernels.op import OPS

ROOT = Path(__file__).resolve().parent.parent


def run(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--out", str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)


def result(out: Path) -> dict:
    (path,) = out.glob("*_????-??-??.json")
    return json.loads(path.read_text())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_without_a_card_it_says_so_in_one_line(tmp_path):
    done = run(tmp_path / "out")
    assert done.returncode == gpu_check.NO_CARD
    assert done.stdout.count("\n") == 1 and "no CUDA device" in done.stdout
    assert not (tmp_path / "out").exists()


def test_the_rehearsal_runs_every_kind_of_stage(tmp_path):
    stages = "copy matrix decoders eager graph quickstart".split()
    done = run(tmp_path, "--rehearse", "--only", *stages)
    assert done.returncode == 0, done.stdout + (tmp_path / "log.txt").read_text()[-3000:]
    found = result(tmp_path)
    rows = {row["what"]: row for row in found["rows"]}
    (step,) = [
        row for what, row in rows.items() if "batch 2, eager" in what and "," not in what[40:]
    ]
    assert step["against"] == "roofline" and step["theirs"] > step["ours"] > 0
    assert step["low"] <= step["ours"] <= step["high"]
    assert found["facts"]["bandwidth"] > 0 and found["identity"]["packages"]["torch"]
    assert any("quickstart" in what and "accuracy" in what for what in rows)
    assert any(what.endswith(": CPU") for what in rows)
    skipped = [one["reason"] for one in found["skipped"] if one["stage"] == "decoders"]
    assert torch.cuda.is_available() or any("nvJPEG: decoding on a card" in s for s in skipped)
    assert found["rehearsal"] is True


def test_kernels_are_checked_and_timed_in_the_rehearsal(tmp_path):
    done = run(tmp_path, "--rehearse", "--only", "copy", "kernels", "speed")
    assert done.returncode == 0, done.stdout + (tmp_path / "log.txt").read_text()[-3000:]
    rows = {row["what"]: row for row in result(tmp_path)["rows"]}
    right = rows["sample on cpu: examples as exact as the reference"]
    assert right["ours"] == right["theirs"] == 3 * len(OPS["sample"].examples())
    timed = [what for what in rows if what.startswith("sample on cpu, ")]
    assert len(timed) == 3 * len(gpu_kernels.CASES), "us, GB/s and the share of a step"
    assert sum(what.startswith("torchvision v2, ") for what in rows) == len(gpu_kernels.CASES)
    assert all(row["against"] == "copy" for what, row in rows.items() if what.endswith("traffic"))


class Told:
    """What `backends` and `differences` ask of a Report."""

    device, rehearse = torch.device("cpu"), True

    def skip(self, reason: str) -> None:
        self.reason = reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made * (256 / 255), "error"),
        (lambda made: made.flip(3), "error"),
        (lambda made: made.double(), "error"),
        (lambda made: 1 // 0, None),
    ],
    ids=["1/256 for 1/255", "mirrored", "another dtype", "a fault of the script itself"],
)
def test_a_wrong_kernel_is_named(change, said):
    op = OPS["sample"]
    backends = {"cpu": lambda *a, **s: change(op.backends["cpu"](*a, **s))}
    broken = dataclasses.replace(op, name="broken", backends=backends | {"triton": None})
    OPS.pop("broken")
    told = Told()
    assert gpu_kernels.backends(told, broken) == ["cpu"]
    assert told.reason == "broken on triton: no card"
    example = next(one for one in op.examples() if one.name == "gray repeated")
    if said is None:  # nothing that a kernel raises: the stage's `attempt` names it
        with pytest.raises(ZeroDivisionError):
            list(gpu_kernels.differences(told, broken, "cpu", example))
        return
    found = list(gpu_kernels.differences(told, broken, "cpu", example))
    assert any(said in why and why.startswith("broken on cpu, gray repeated") for why in found)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_whole_rehearsal_passes(tmp_path):
    done = run(tmp_path, "--rehearse")
    assert done.returncode == 0, done.stdout + (tmp_path / "log.txt").read_text()[-3000:]
    stages = [stage["stage"] for stage in result(tmp_path)["stages"]]
    assert stages == [stage.name for stage in gpu_check.STAGES]


PLANTED = """
import json, os, sys, time
stage, _, path = sys.argv[1:4]
json.dump({"rows": [{"what": stage}], "skipped": ["no " + stage]}, open(path, "w"))
{"sound": lambda: 0, "asleep": lambda: time.sleep(600), "dead": os.abort}[stage]()
"""


def test_a_stage_that_dies_or_hangs_ends_itself_alone_and_keeps_its_rows(tmp_path, capsys):
    script = tmp_path / "planted.py"
    script.write_text(PLANTED)
    check = Check(tmp_path / "out", rehearse=False)
    for name, limit_s in (("dead", 60), ("asleep", 2), ("sound", 60)):
        check.run(Stage(name, str(script), limit_s))
    found = result(tmp_path / "out")
    assert [row["what"] for row in found["rows"]] == ["dead", "asleep", "sound"]
    assert [f["stage"] for f in found["failed"]] == ["dead", "asleep"]
    assert "limit" in found["failed"][1]["reason"]
    assert [s["reason"] for s in found["skipped"]] == ["no dead", "no asleep", "no sound"]
    assert "dead: FAILED" in capsys.readouterr().out


def test_stages_that_time_does_not_allow_are_skipped_with_that_reason(tmp_path):
    check = Check(tmp_path, rehearse=True)
    check.end = 0.0
    check.run(gpu_check.STAGES[0])
    assert result(tmp_path)["skipped"] == [{"stage": "identity", "reason": "no time was left"}]


@pytest.fixture(scope="module")
def resnet50():
    from torchvision.models import resnet50

    with torch.device("meta"):
        model = resnet50(num_classes=4)
    return [roofline.operations(model, 3, 224, fused) for fused in (False, True)]


def test_resnet50_has_the_flops_and_bytes_of_the_analysis(resnet50):
    plain, fused = resnet50
    assert roofline.flops(plain) == pytest.approx(24.54e9, rel=2e-3)
    assert roofline.traffic(plain) == pytest.approx(346e6, rel=5e-3)
    assert roofline.flops(fused) == roofline.flops(plain)
    assert roofline.traffic(fused) < 0.65 * roofline.traffic(plain)


@pytest.mark.parametrize(
    ("rate", "bandwidth", "images"),
    [(125e12, 0.9e12, 2105), (312e12, 2.04e12, 4910), (989e12, 3.35e12, 9150)],
)
def test_the_roofline_of_known_cards_is_that_of_the_analysis(resnet50, rate, bandwidth, images):
    assert roofline.images_per_s(resnet50[0], rate, bandwidth) == pytest.approx(images, rel=5e-3)
    assert "limited by memory" in roofline.limited_by(resnet50[0], rate, bandwidth)


def test_the_readings_of_the_card_keep_their_extremes():
    readings = [{"power.draw": "70.1", "mig": "N/A"}, {"power.draw": "650.0"}, {}]
    assert gpu_check.extremes(readings) == {"power.draw": [70.1, 650.0]}
