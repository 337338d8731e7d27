"""`fit`: one call from files to a receipt; stopped anywhere, it ends in the same weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from pictures import CLASSES, draw, small_recipe, write_pictures

from foveate.dataloaders.errors import DataError, StorageError
from foveate.engine.checkpoint import Checkpointer
from foveate.engine.failure import NumericalError, Preempted, RecipeError
from foveate.engine.fit import _agree, fit
from foveate.engine.models.library import hash_weights
from foveate.engine.ranks.world import World
from foveate.engine.run.console import Logged
from foveate.engine.scoring import open_run, predict_files, score_run
from foveate.engine.tracking.metrics import read_metrics
from foveate.engine.trainer import Trainer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def clean(root, tmp_path_factory):
    """A run that nothing disturbed."""
    return fit(small_recipe(root), out=tmp_path_factory.mktemp("run") / "clean")


class Killed(BaseException):
    """Stands for a process that is gone: nothing may catch it and tidy up."""


def stop_at(monkeypatch, step, error):
    """Let the run die of `error` when it comes to optimizer step `step`."""
    real = Trainer._next

    def turn_of(self, feed, size, turn):
        if self.step == step:
            raise error
        return real(self, feed, size, turn)

    monkeypatch.setattr(Trainer, "_next", turn_of)


def test_a_run_leaves_its_folder(clean):
    folder = clean.folder
    found = set(os.listdir(folder))
    files = {"recipe.json", "plan.json", "metrics.jsonl", "receipt.json", "report.html"}
    assert files | {"checkpoints", "weights", "evidence"} <= found
    assert "failure.json" not in found
    for name in ("recipe.json", "plan.json", "receipt.json"):
        with open(f"{folder}/{name}") as file:
            assert json.load(file)["format"] == 1
    assert clean.scores["test"]["images"] == 9 and clean.scores["val"]["images"] == 6
    assert clean.steps == 7 and clean.images_seen == 56
    assert "9 test images" in clean.verdict


def test_the_receipt_hashes_the_weights_that_lie_there(clean):
    from pathlib import Path

    import safetensors.torch

    last = safetensors.torch.load_file(Path(clean.folder) / "weights" / "last.safetensors")
    ema = safetensors.torch.load_file(Path(clean.folder) / "weights" / "ema.safetensors")
    assert hash_weights(last) == clean.weights_sha256
    assert hash_weights(ema) == clean.scored_sha256 != clean.weights_sha256
    assert clean.scored == "ema"


@pytest.mark.parametrize("step", [0, 1, 4, 6])
def test_a_run_killed_at_any_step_ends_in_the_same_weights(
    root, clean, tmp_path, monkeypatch, step
):
    with monkeypatch.context() as patch:
        stop_at(patch, step, Killed())
        with pytest.raises(Killed):
            fit(small_recipe(root), out=tmp_path / "run")
    again = fit(small_recipe(root), out=tmp_path / "run")
    assert again.weights_sha256 == clean.weights_sha256
    assert again.scored_sha256 == clean.scored_sha256
    assert again.scores == clean.scores


def test_metrics_are_cut_to_the_checkpoint_and_nothing_is_lost(root, tmp_path, monkeypatch):
    recipe = small_recipe(root, save_epochs=1.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 6, Killed())
        with pytest.raises(Killed):
            fit(recipe, out=tmp_path / "run")
    fit(recipe, out=tmp_path / "run")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == list(range(1, 8)), "each step stands once"
    undone = read_metrics(tmp_path / "run" / "metrics.undone.jsonl")
    assert [line["step"] for line in undone if line["kind"] == "step"] == [5, 6]
    assert any(line.get("event") == "resumed" and line["step"] == 4 for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_the_same_call_goes_on(root, clean, tmp_path, monkeypatch, number):
    real = Trainer._next

    def turn_of(self, feed, size, turn):
        if self.step == 3:
            os.kill(os.getpid(), number)
        return real(self, feed, size, turn)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_next", turn_of)
        with pytest.raises(Preempted, match="after step 4 of 7"):
            fit(small_recipe(root), out=tmp_path / "run")
    assert Checkpointer(tmp_path / "run" / "checkpoints").restore().step == 4
    assert not (tmp_path / "run" / "failure.json").exists()
    assert fit(small_recipe(root), out=tmp_path / "run").weights_sha256 == clean.weights_sha256


def test_a_finished_run_returns_its_receipt_without_training(root, clean, monkeypatch):
    stop_at(monkeypatch, 0, Killed())
    assert fit(small_recipe(root), out=clean.folder) == clean


def test_fresh_sets_the_old_run_aside(root, clean, tmp_path):
    shutil.copytree(clean.folder, tmp_path / "run")
    again = fit(small_recipe(root), out=tmp_path / "run", fresh=True)
    assert again.weights_sha256 == clean.weights_sha256
    assert (tmp_path / "run.old-1" / "receipt.json").exists()


def test_another_recipe_in_the_same_folder_is_refused_with_the_difference(root, clean):
    with pytest.raises(RecipeError, match=r"seed: 0 -> 1"):
        fit(small_recipe(root, seed=1), out=clean.folder)


def test_two_runs_cannot_share_a_folder(root, tmp_path, monkeypatch):
    held, go = threading.Event(), threading.Event()
    real = Trainer._next

    def turn_of(self, feed, size, turn):
        held.set()
        assert go.wait(60)
        return real(self, feed, size, turn)

    monkeypatch.setattr(Trainer, "_next", turn_of)
    first = threading.Thread(target=fit, args=[small_recipe(root)], kwargs={"out": tmp_path / "r"})
    first.start()
    assert held.wait(60)
    with pytest.raises(StorageError, match="another process is training"):
        fit(small_recipe(root), out=tmp_path / "r")
    go.set()
    first.join()
    assert (tmp_path / "r" / "receipt.json").exists(), "off the main thread, without signals"


def test_other_images_under_the_same_run_are_refused(root, tmp_path, monkeypatch):
    copy = shutil.copytree(root, tmp_path / "data")
    with monkeypatch.context() as patch:
        stop_at(patch, 5, Killed())
        with pytest.raises(Killed):
            fit(small_recipe(copy), out=tmp_path / "run")
    victim = next((copy / "train" / CLASSES[0]).iterdir())
    victim.write_bytes(next((copy / "train" / CLASSES[1]).iterdir()).read_bytes())
    with pytest.raises(DataError, match="not those that this run began with"):
        fit(small_recipe(copy), out=tmp_path / "run")


def test_the_same_images_elsewhere_are_the_same_run(root, clean, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, Killed())
        with pytest.raises(Killed):
            fit(small_recipe(root), out=tmp_path / "run")
    copy = shutil.copytree(root, tmp_path / "moved")
    again = fit(small_recipe(copy), out=tmp_path / "run")
    assert again.weights_sha256 == clean.weights_sha256


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(root, tmp_path):
    recipe = small_recipe(root, optimizer=replace(small_recipe(root).optimizer, lr=1e30))
    with pytest.raises(NumericalError, match=r"optimizer\.lr"):
        fit(recipe, out=tmp_path / "run")
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert failure["exit_code"] == 60 and failure["step"] >= 1


def test_a_full_disk_ends_with_its_exit_code_and_the_last_save_is_whole(
    root, clean, tmp_path, monkeypatch
):
    from foveate.engine import checkpoint

    real = checkpoint.write_durably

    def write(path, data):
        if "step-00000004" in str(path):
            raise OSError(28, "No space left on device", str(path))
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_durably", write)
        with pytest.raises(StorageError, match="No space left"):
            fit(small_recipe(root), out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "failure.json").read_text())["exit_code"] == 50
    assert fit(small_recipe(root), out=tmp_path / "run").weights_sha256 == clean.weights_sha256


def test_the_best_weights_are_kept_and_scored(root, tmp_path):
    receipt = fit(small_recipe(root, keep="best", evaluate_epochs=0.5), out=tmp_path / "run")
    scored = [
        line["scores"]["accuracy"]
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if line["kind"] == "eval"
    ]
    assert receipt.scored == "best"
    assert receipt.scores["val"]["accuracy"] == max(scored)


def test_an_unreadable_image_is_quarantined_and_reported(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "data")
    for number in range(40, 80):
        for label, name in enumerate(CLASSES):
            import simplejpeg

            data = simplejpeg.encode_jpeg(draw(label, number), 90, colorspace="GRAY")
            (copy / "train" / name / f"{name}-{number}-9.jpeg").write_bytes(data)
    victim = copy / "train" / CLASSES[0] / f"{CLASSES[0]}-40-9.jpeg"
    victim.write_bytes(victim.read_bytes()[:300])
    receipt = fit(small_recipe(copy, epochs=1), out=tmp_path / "run")
    (line,) = receipt.data["quarantined"]
    assert len(line["sha256"]) == 64 and line["reason"] and line["split"] in ("train", "val")
    page = (tmp_path / "run" / "report.html").read_text()
    assert line["sha256"][:8] in page and victim.name not in page


def test_eval_and_predict_agree_with_the_receipt(root, clean):
    again = score_run(clean.folder_path, "", "test", Logged())
    assert again["scores"] == clean.scores["test"]
    trainer, _ = open_run(clean.folder_path)
    answers = predict_files(clean.folder_path, [root / "test"])["images"]
    right = [answer["class"] in answer["path"].rsplit("/", 1)[1] for answer in answers]
    assert len(answers) == 9 and sum(right) / 9 == pytest.approx(clean.accuracy("test"))
    assert isinstance(trainer.model, torch.nn.Module)


def test_tampered_weights_are_not_scored(root, clean, tmp_path):
    copy = shutil.copytree(clean.folder, tmp_path / "run")
    path = copy / "weights" / "ema.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StorageError, match="not what the receipt says"):
        open_run(copy)


def test_no_patient_id_leaves_the_cache(root, clean):
    """File names carry patient numbers: none of them may stand in any artefact of the run."""
    names = {path.stem for path in root.rglob("*.jpeg")}
    for folder, _, files in os.walk(clean.folder):
        for file in files:
            with open(os.path.join(folder, file), "rb") as handle:
                data = handle.read()
            assert not [name for name in names if name.encode() in data], file


def test_a_finished_run_does_not_answer_for_other_images(root, clean, tmp_path):
    other = write_pictures(tmp_path / "other", train=24, test=7)
    with pytest.raises(DataError, match="finished run of other images"):
        fit(small_recipe(other), out=clean.folder)
    moved = shutil.copytree(root, tmp_path / "moved")
    assert fit(small_recipe(moved), out=clean.folder) == clean


def test_fresh_sets_nothing_aside_for_a_run_that_cannot_be(root, clean, tmp_path):
    shutil.copytree(clean.folder, tmp_path / "run")
    with pytest.raises(DataError, match="no data folder"):
        fit(small_recipe(tmp_path / "typo"), out=tmp_path / "run", fresh=True)
    assert (tmp_path / "run" / "receipt.json").exists()
    assert not (tmp_path / "run.old-1").exists()


def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(DataError):
        fit(small_recipe(tmp_path / "typo"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_seconds_are_added_up_over_restarts(root, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 6, Killed())
        with pytest.raises(Killed):
            fit(small_recipe(root), out=tmp_path / "run")
    spent = Checkpointer(tmp_path / "run" / "checkpoints").restore().facts["seconds"]
    time_s = fit(small_recipe(root), out=tmp_path / "run").time
    assert time_s["total_s"] > spent["total_s"] > 0
    assert time_s["data_s"] > spent["data_s"] > 0
    stages = sum(value for name, value in time_s.items() if name != "total_s")
    assert stages <= time_s["total_s"] + 0.01


def test_a_run_does_not_change_its_precision_on_the_way(root, tmp_path, monkeypatch):
    recipe = small_recipe(root, precision="auto")
    with monkeypatch.context() as patch:
        stop_at(patch, 6, Killed())
        patch.setattr("foveate.engine.plan._cpu_multiplies_bf16", lambda: False)
        with pytest.raises(Killed):
            fit(recipe, out=tmp_path / "run")
    monkeypatch.setattr("foveate.engine.plan._cpu_multiplies_bf16", lambda: True)
    with pytest.raises(RecipeError, match="began in fp32 and would go on in bf16"):
        fit(recipe, out=tmp_path / "run")


def test_the_callers_random_numbers_and_threads_are_left_alone(root, tmp_path):
    torch.manual_seed(3)
    wanted, threads = torch.rand(4), torch.get_num_threads()
    torch.manual_seed(3)
    fit(small_recipe(root, epochs=0.5), out=tmp_path / "run")
    assert torch.equal(torch.rand(4), wanted)
    assert torch.get_num_threads() == threads


def test_weights_that_are_no_numbers_are_not_scored(root, tmp_path, monkeypatch):
    real = Trainer.weights

    def broken(self, scored=False):
        weights = real(self, scored)
        next(iter(weights.values())).view(-1)[0] = float("nan")
        return weights

    monkeypatch.setattr(Trainer, "weights", broken)
    with pytest.raises(NumericalError, match="no numbers, first"):
        fit(small_recipe(root, epochs=0.5), out=tmp_path / "run")
    assert not (tmp_path / "run" / "receipt.json").exists()


def test_a_rank_with_room_for_a_pack_streams_where_another_one_has_none():
    alone, beside = World(), SimpleNamespace(any=lambda own: True)
    assert _agree("pack", "fits", alone) == ("pack", "fits")
    assert _agree("stream", "full", beside) == ("stream", "full")
    assert _agree("pack", "fits", beside)[0] == "stream"
