"""MLflow holds what the run folder holds, whatever happened; training never waits for it."""

# ruff: noqa: F401, F811 - pytest finds fixtures by the name of an argument

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import small_recipe
from stores import closed_port, curves, only_run, record, replay
from tracked import done, place, quick_disk, root

from foveate.engine import cli
from foveate.engine.failure import TrackingError
from foveate.engine.fit import fit
from foveate.engine.tracking import mirror
from foveate.engine.tracking import replay as replaying
from foveate.engine.tracking.metrics import Tracker, read_metrics, rewind
from foveate.engine.tracking.replay import is_behind, sync_run
from foveate.engine.tracking.store import connect
from foveate.engine.tracking.translate import encode, metrics_of


def test_a_replayed_run_holds_every_value_of_every_line(place, capfd):
    folder, uri = place
    assert replay(folder, uri)
    assert capfd.readouterr().out == "", "MLflow prints where a run can be seen"
    run = only_run(uri)
    points = record(folder)
    assert curves(uri, run.info.run_id) == points
    assert len(points) > 100 and len(set(points)) == len(points)
    keys = {key for key, *_ in points}
    assert {"loss", "lr", "grad_norm", "images_per_s", "wait", "mfu", "memory_mb"} <= keys
    assert {"val/accuracy", "final/test/accuracy", "system/rss_mb", "system/cpu_percent"} <= keys


def test_a_replayed_run_holds_parameters_tags_files_and_the_data_set(place):
    folder, uri = place
    replay(folder, uri)
    run, receipt = only_run(uri), json.loads((folder / "receipt.json").read_text())
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "0.001" and run.data.params["plan.steps"] == "7"
    assert run.data.tags["foveate.weights_sha256"] == receipt["weights_sha256"]
    assert run.data.tags["foveate.recipe_hash"] == receipt["recipe_hash"]
    assert run.data.tags["foveate.verdict"] == receipt["verdict"]
    (data,) = run.inputs.dataset_inputs
    assert receipt["data"]["manifest_sha256"].startswith(data.dataset.digest)
    assert len(data.dataset.digest) == 32
    client = connect(uri)
    sent = {f.path for f in client.list_artifacts(run.info.run_id)}
    sent |= {f.path for f in client.list_artifacts(run.info.run_id, "evidence")}
    asked = {"recipe.json", "plan.json", "receipt.json", "report.html", "metrics.jsonl"}
    assert asked | {"evidence/samples.png", "evidence/model.txt"} <= sent
    assert not [name for name in sent if "rows" in name], "rows stay here"
    text = client.download_artifacts(run.info.run_id, "evidence/model.txt")
    assert "MobileNetV3" in Path(text).read_text()


def test_the_logged_model_has_a_signature_and_predicts(place, root, tmp_path, capsys):
    folder, uri = place
    replay(folder, uri)
    client, run = connect(uri), only_run(uri)
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert str(model.status).endswith("READY")
    scored = {metric.key: metric.value for metric in model.metrics}
    receipt = json.loads((folder / "receipt.json").read_text())
    assert scored["final/test/accuracy"] == receipt["scores"]["test"]["accuracy"]
    copy = Path(model.artifact_location.removeprefix("file://"))
    facts = json.loads((copy / "MLmodel").read_text())
    (inputs,) = json.loads(facts["signature"]["inputs"])
    (outputs,) = json.loads(facts["signature"]["outputs"])
    assert inputs["tensor-spec"] == {"dtype": "float32", "shape": [-1, 1, 32, 32]}
    assert outputs["tensor-spec"] == {"dtype": "float32", "shape": [-1, 2]}
    assert cli.main(["predict", str(copy), str(root / "test"), "--json", "-"]) == 0
    from_copy = capsys.readouterr().out
    assert cli.main(["predict", str(folder), str(root / "test"), "--json", "-"]) == 0
    assert json.loads(from_copy)["images"] == json.loads(capsys.readouterr().out)["images"]
    suffixes = {path.suffix for path in copy.rglob("*") if path.is_file()}
    assert suffixes == {"", ".json", ".safetensors"}, "nothing that could hold a pickle"


def test_a_second_replay_asks_nothing_and_changes_nothing(place):
    folder, uri = place
    assert is_behind(folder, uri)
    replay(folder, uri)
    before = (folder / "mlflow.json").read_bytes(), curves(uri, only_run(uri).info.run_id)
    assert not is_behind(folder, uri)
    replay(folder, uri)
    assert ((folder / "mlflow.json").read_bytes(), curves(uri, only_run(uri).info.run_id)) == before


def test_a_cursor_from_before_the_last_batch_doubles_nothing(place, monkeypatch):
    """A batch that was taken but not noted is sent again: same key, step, time and value."""
    folder, uri = place
    monkeypatch.setattr(mirror, "METRICS_PER_BATCH", 40)
    calls, marks = 0, []
    real = mirror.Mirror._save

    def save(self):
        real(self)
        marks.append((folder / "mlflow.json").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(mirror.Mirror, "_save", save)
        replay(folder, uri)
    whole = curves(uri, only_run(uri).info.run_id)
    for mark in marks[2::3]:
        (folder / "mlflow.json").write_bytes(mark)
        replay(folder, uri)
        calls += 1
        assert curves(uri, only_run(uri).info.run_id) == whole == record(folder)
    assert calls > 5


def test_a_loss_of_any_call_loses_and_doubles_nothing(done, tmp_path, monkeypatch):
    """For every call: its answer is lost, and in the next attempt the call itself."""
    monkeypatch.setattr(mirror, "METRICS_PER_BATCH", 150)
    number, through = 0, False
    while not through:
        number += 1
        folder = shutil.copytree(done, tmp_path / str(number) / "run")
        uri = f"sqlite:///{tmp_path / str(number) / 'mlflow.db'}"
        through = replay(folder, uri, fail=number, late=True)
        replay(folder, uri, fail=number)
        assert replay(folder, uri)
        run = only_run(uri)
        assert curves(uri, run.info.run_id) == record(folder), number
        assert len(connect(uri).search_logged_models([run.info.experiment_id])) == 1, number
        assert run.info.status == "FINISHED" and len(run.inputs.dataset_inputs) == 1
        assert len(run.outputs.model_outputs) == 1
    assert number > 25, "the replay makes fewer calls than there are kinds of things to log"


def cut_short(folder, lines):
    """The run as it was after so many lines."""
    text = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(text[:lines]))
    (folder / "receipt.json").unlink()


def test_steps_that_a_resume_took_back_stand_once(place):
    folder, uri = place
    cut_short(folder, 9)
    replay(folder, uri, live=True)
    first = only_run(uri).info.run_id
    assert only_run(uri).info.status == "RUNNING"
    assert rewind(folder / "metrics.jsonl", 2)
    tracker = Tracker(folder / "metrics.jsonl")
    for step in (3, 4):
        tracker.log("step", step, loss=1.5, images_per_s=step / 7)
    tracker.close()
    replay(folder, uri, live=True)
    second = only_run(uri).info.run_id
    assert second != first and curves(uri, second) == record(folder)
    old = connect(uri).get_run(first)
    assert old.info.lifecycle_stage == "deleted"
    assert old.data.tags["foveate.superseded_by"] == second


def test_a_resume_that_took_nothing_back_goes_on_in_the_same_run(place):
    folder, uri = place
    whole = (folder / "metrics.jsonl").read_bytes()
    receipt = (folder / "receipt.json").read_bytes()
    cut_short(folder, 9)
    replay(folder, uri)
    first = only_run(uri)
    assert first.info.status == "KILLED"
    rewind(folder / "metrics.jsonl", 99)
    (folder / "metrics.jsonl").write_bytes(whole)
    replay(folder, uri, live=True)
    assert only_run(uri).info.status == "RUNNING"
    (folder / "receipt.json").write_bytes(receipt)
    replay(folder, uri)
    assert only_run(uri).info.run_id == first.info.run_id
    assert only_run(uri).info.status == "FINISHED"
    assert curves(uri, first.info.run_id) == record(folder)


def test_a_torn_line_waits_until_it_is_whole(place):
    folder, uri = place
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(whole[:-30])
    (folder / "receipt.json").unlink()
    replay(folder, uri)
    (folder / "metrics.jsonl").write_bytes(whole)
    replay(folder, uri)
    assert curves(uri, only_run(uri).info.run_id) == record(folder)


def test_a_run_that_somebody_deleted_is_not_made_again(place):
    folder, uri = place
    cut_short(folder, 9)
    replay(folder, uri)
    connect(uri).delete_run(only_run(uri).info.run_id)
    with pytest.raises(TrackingError, match="was deleted there"):
        sync_run(folder, uri)


def test_another_store_gets_everything_too(place):
    folder, uri = place
    replay(folder, uri)
    elsewhere = uri.replace("mlflow.db", "other.db")
    sync_run(folder, elsewhere)
    assert curves(elsewhere, only_run(elsewhere).info.run_id) == record(folder)
    unknown = uri.replace("mlflow.db", "third.db")
    text = (folder / "mlflow.json").read_text()
    (folder / "mlflow.json").write_text(text.replace("other.db", "third.db"))
    sync_run(folder, unknown)
    assert curves(unknown, only_run(unknown).info.run_id) == record(folder), "the file was lost"


def test_two_processes_make_one_database(tmp_path):
    """Both from nothing: neither the cache nor the folder has one, and both want to migrate."""
    environment = os.environ | {"FOVEATE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "tests/stores.py", "migrate", str(tmp_path)]
    root = Path(__file__).parent.parent
    both = [subprocess.Popen(command, env=environment, cwd=root) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    names = {e.name for e in connect(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()}
    assert {str(process.pid) for process in both} <= names
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_that_is_behind_catches_up_at_the_next_train(place, root, monkeypatch):
    folder, uri = place
    monkeypatch.setattr(replaying, "WAIT_S", 60.0)
    fit(small_recipe(root), out=folder, tracking=uri)
    assert curves(uri, only_run(uri).info.run_id) == record(folder)
    assert not is_behind(folder, None), "it is remembered where this run goes"


def test_sync_is_a_verb(place, capsys, monkeypatch):
    folder, uri = place
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert cli.main(["runs", "sync", str(folder)]) == 0
    assert f"{len(read_metrics(folder / 'metrics.jsonl'))} lines  {uri}" in capsys.readouterr().out
    assert curves(uri, only_run(uri).info.run_id) == record(folder)
    assert cli.main(["runs", "sync", str(folder), "--tracking", closed_port()]) == 40
    assert "the same command goes on" in capsys.readouterr().err
    assert cli.main(["runs", "sync", str(folder), "--tracking", "none"]) == 40


def test_one_replay_at_a_time(place):
    folder, uri = place
    with (
        replaying.hold_cursor(folder, wait=False),
        pytest.raises(TrackingError, match="another process is replaying"),
    ):
        sync_run(folder, uri)


def test_no_two_names_become_one():
    assert len({encode(name) for name in ("a+", "a-", "a(+)", "a(-)", "\u00e4", "a")}) == 6
    line = {
        "kind": "eval",
        "step": 3,
        "time_s": 1.5,
        "split": "val",
        "scores": {"auc": 1, "n": None},
    }
    assert metrics_of(line) == [("val/auc", 1.0, 1500, 3)]
