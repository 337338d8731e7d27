"""A store that is dead, slow or absent costs no step and no line; nothing is told to strangers."""

# ruff: noqa: F401, F811 - pytest finds fixtures by the name of an argument

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import small_recipe
from stores import closed_port, curves, only_run, record, replay, server
from tracked import done, place, quick_disk, root

from foveate.engine.fit import fit
from foveate.engine.tracking import mirror
from foveate.engine.tracking import replay as replaying
from foveate.engine.tracking.metrics import read_metrics
from foveate.engine.tracking.replay import sync_run
from foveate.engine.tracking.store import clean, connect, show_uri

SECRET = "hunter2%2F7"
HTTP = b"HTTP/1.1 %s\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
BROKEN = {"hangs": None, "answers 500": HTTP % b"500 Oh", "talks nonsense": b"220 mail\r\n"}
DRAWN = ("kind", "step", "loss", "lr", "grad_norm", "size", "event", "scores")


def deterministic(folder):
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] != "system"]
    return [{name: line.get(name) for name in DRAWN} for line in lines]


@pytest.mark.parametrize("how", [*BROKEN, "refuses"])
def test_a_broken_server_costs_no_step_and_no_line(root, done, tmp_path, monkeypatch, caplog, how):
    caplog.set_level(logging.INFO, "foveate")
    monkeypatch.setattr(replaying, "WAIT_S", 0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")  # longer than a test may take
    out = tmp_path / "run"
    with server(BROKEN.get(how)) as answering:
        host = closed_port() if how == "refuses" else answering
        uri = host.replace("://", f"://ann:{SECRET}@")
        receipt = fit(small_recipe(root), out=out, tracking=uri)
    assert (
        receipt.weights_sha256 == json.loads((done / "receipt.json").read_text())["weights_sha256"]
    )
    assert deterministic(out) == deterministic(done)
    said = [line for line in caplog.messages if line.startswith("tracking: ")]
    assert "lines are in http://127.0.0.1" in said[-1] and "runs sync" in said[-1]
    assert len(said) <= 2, "one line when it fails, one at the end"
    check_no_secret(out, caplog.text)
    assert replay(out, f"sqlite:///{tmp_path / 'mlflow.db'}"), "the record is whole"


def test_a_login_in_the_uri_reaches_the_server_and_nobody_else(monkeypatch, capsys):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    heard = []
    with server(BROKEN["answers 500"], heard) as uri:
        client = connect(uri.replace("://", f"://ann:{SECRET}@"))
        with pytest.raises(Exception, match="500") as caught:
            client.search_experiments()
    assert client.tracking_uri == uri
    login = base64.b64encode(b"ann:hunter2/7")
    assert b"Authorization: Basic " + login in heard[0]
    assert "hunter2" not in str(caught.value) + capsys.readouterr().out


def check_no_secret(folder, log):
    for secret in (SECRET, "hunter2/7", "ann:"):
        assert secret not in log
        for path in folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_store_that_dies_and_comes_back_gets_everything(root, tmp_path, monkeypatch, caplog):
    """The thread of a live run: its store is gone for three passes in the middle."""
    caplog.set_level(logging.INFO, "foveate")
    monkeypatch.setattr(replaying, "POLL_S", 0.01)
    monkeypatch.setattr(replaying, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(replaying, "WAIT_S", 60.0)
    real, passes = mirror.Mirror.advance, []

    def advance(self, live):
        passes.append(live)
        if 2 <= len(passes) <= 4:
            raise ConnectionError("gone")
        real(self, live)

    monkeypatch.setattr(mirror.Mirror, "advance", advance)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    fit(small_recipe(root), out=tmp_path / "run", tracking=uri)
    assert passes[:5] == [True] * 5 and passes[-1] is False
    assert curves(uri, only_run(uri).info.run_id) == record(tmp_path / "run")
    assert sum("gone" in line for line in caplog.messages) == 1
    assert sum("answers again" in line for line in caplog.messages) == 1


def test_without_mlflow_a_run_says_so_in_one_line(root, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "foveate")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    fit(small_recipe(root, epochs=1), out=tmp_path / "run", tracking=f"sqlite:///{tmp_path}/m.db")
    said = [line for line in caplog.messages if line.startswith("tracking: ")]
    assert "pip install mlflow-skinny" in said[0] and (tmp_path / "run/receipt.json").exists()


def test_training_asks_for_no_address_outside_this_machine(tmp_path):
    """Telemetry on, MLflow connects to the vendor within a second of its first call."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "tests/stores.py", "train", str(tmp_path / "run"), ""]
    root = Path(__file__).parent.parent
    told = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout.splitlines()[-1])
    assert facts["asked"] == []
    assert facts["environment"] == {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    sync_run(tmp_path / "run", f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"http://ann:{SECRET}@host:5000/base", "http://host:5000/base"),
        (f"postgresql://ann:{SECRET}@host/db?sslkey=x", "postgresql://host/db"),
        ("https://host/?token=abc", "https://host/"),
        ("sqlite:////home@work/mlflow.db", "sqlite:////home@work/mlflow.db"),
    ],
)
def test_a_shown_uri_has_no_secret(uri, shown):
    assert show_uri(uri) == shown
    said = clean(f"cannot reach {uri} as ann with hunter2/7 or {SECRET} or token abc", uri)
    assert SECRET not in said or uri.startswith(("sqlite", "https"))
    assert "hunter2/7" not in said or uri.startswith(("sqlite", "https"))


@pytest.mark.skipif(not importlib.util.find_spec("flask"), reason="needs the full mlflow package")
def test_a_real_server_that_is_killed_and_comes_back_holds_everything(place, tmp_path, capfd):
    folder, _ = place
    host = closed_port()
    uri = host.replace("://", f"://ann:{SECRET}@")
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/m.db"]
    store += ["--artifacts-destination", str(tmp_path / "art")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", host.rpartition(":")[2], *store]
    for turn in range(2):
        process = subprocess.Popen(command, start_new_session=True)
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end and not _answers(host):
                time.sleep(0.5)
            if turn == 0:
                assert not replay(folder, uri, fail=9)
            else:
                sync_run(folder, uri)
                assert curves(uri, only_run(uri).info.run_id) == record(folder)
        finally:
            os.killpg(process.pid, 9)
            process.wait()
    check_no_secret(folder, "".join(capfd.readouterr()))


def _answers(uri):
    import urllib.request

    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=2).status == 200
    except OSError:
        return False
