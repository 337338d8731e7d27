"""benchmarks/kernels.py: a side that does other work than ours is not timed."""

from __future__ import annotations

import augmenters
import numpy as np
import op_rates
import pytest
import torch
from compare import Refused

import kernels
from foveate.dataloaders.phantoms.brain import draw_slice


@pytest.fixture(scope="module")
def pictures():
    heads = (draw_slice("glioma", number, 0) for number in range(99))
    return [next(h for h in heads if h.shape == (256, 256))[:, :, None] for _ in range(8)]


def damaged(change):
    """torchvision with something wrong at its end."""
    return lambda job: lambda images: change(augmenters.with_torchvision(job)(images))


def test_torchvision_does_the_same_work(pictures):
    kernels.check_equal(kernels.make_job(kernels.COLOURED, pictures), pictures, "torchvision")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made.roll(1, dims=3), "other pixels"),
        (lambda made: made.flip(3), "other pixels"),
        (lambda made: made.transpose(2, 3), "other pixels"),
        (lambda made: made + 1 / 64, "other pixels"),
        (lambda made: made.bfloat16(), r"gives .* of torch.bfloat16"),
        (lambda made: made[:, :, ::2, ::2], r"gives \(8, 1, 112, 112\)"),
    ],
    ids=["one pixel aside", "mirrored", "axes swapped", "brighter", "16 bits", "half the side"],
)
def test_other_work_is_refused(pictures, monkeypatch, change, said):
    monkeypatch.setitem(kernels.MAKERS, "torchvision", damaged(change))
    with pytest.raises(Refused, match=said):
        kernels.check_equal(kernels.make_job(kernels.CROP, pictures), pictures, "torchvision")


def test_a_package_that_is_missing_is_skipped_with_a_line(pictures, monkeypatch, capsys):
    monkeypatch.setitem(kernels.FIELD, "torchvision", "no-such-package-at-all")
    job = kernels.make_job(kernels.CROP, pictures)
    assert kernels.versus("sample", job, pictures, "torchvision", 7, True) == []
    assert "skipped: sample, torchvision: No package metadata" in capsys.readouterr().out


def test_ours_draws_other_rows_in_every_epoch_and_finishes_every_picture(pictures, monkeypatch):
    job, made = kernels.make_job(kernels.CROP, pictures), []
    finish = kernels.finish_batch
    monkeypatch.setattr(kernels, "finish_batch", lambda *a: made.append(finish(*a)) or made[-1])
    run = kernels.make_ours(job, pictures)
    assert run() == run() == len(pictures)
    assert made[0].dtype == torch.float32 and not torch.equal(made[0], made[1])


def test_every_operation_gets_its_time_and_its_share_of_a_copy(monkeypatch):
    monkeypatch.setattr(op_rates, "COPIED", 6_400_000)
    rows = op_rates.measure_ops(1, 0.0)
    names = {row["what"].split(",")[0] for row in rows[1:]}
    assert names == {op.name for op in op_rates.load().values() if "cpu" in op.backends}
    assert [row["unit"] for row in rows[:3]] == ["GB/s", "ms", "GB/s"]
    assert all(np.isfinite(row["ours"]) and row["low"] <= row["ours"] for row in rows)
