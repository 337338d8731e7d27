"""What test_replay.py replays from and into: run folders, failing clients, broken servers.

python tests/stores.py train OUT URI    a small run; prints what it connected to
python tests/stores.py migrate FOLDER   a database in FOLDER, as a run makes it
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from foveate.engine.tracking.metrics import read_metrics
from foveate.engine.tracking.mirror import Mirror
from foveate.engine.tracking.store import connect
from foveate.engine.tracking.translate import final_metrics, metrics_of

Rows = set[tuple[str, float, int, int]]


class Lost(ConnectionError):
    """The store is gone."""


class Failing:
    """A real client whose call number `fail` is lost: before it is made, or its answer after."""

    def __init__(self, client: Any, fail: int, late: bool) -> None:
        self._client, self._fail, self._late, self.calls = client, fail, late, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._client, name)

        def call(*words: Any, **named: Any) -> Any:
            self.calls += 1
            lost = self.calls == self._fail
            if lost and not self._late:
                raise Lost(name)
            answer = real(*words, **named)
            if lost:
                raise Lost(name)
            return answer

        return call


def replay(folder: Path, uri: str, fail: int = 0, late: bool = False, live: bool = False) -> bool:
    """One pass, as a process of its own would make it; False where call `fail` was lost."""
    with contextlib.suppress(Lost):
        Mirror(folder, uri, lambda uri: Failing(connect(uri), fail, late)).advance(live)
        return True
    return False


def runs_of(uri: str) -> list[Any]:
    """Every MLflow run that is not deleted."""
    client = connect(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments))


def only_run(uri: str) -> Any:
    """The one run that is not deleted."""
    (run,) = runs_of(uri)
    return run


def curves(uri: str, run_id: str) -> list[tuple[str, float, int, int]]:
    """Every point of every metric that MLflow holds, doubles too."""
    client = connect(uri)
    keys = client.get_run(run_id).data.metrics
    points = [point for key in keys for point in client.get_metric_history(run_id, key)]
    return sorted((p.key, p.value, p.timestamp, p.step) for p in points)


def record(folder: Path) -> list[tuple[str, float, int, int]]:
    """Every point that the folder's own files hold."""
    lines = read_metrics(folder / "metrics.jsonl")
    points = [point for line in lines for point in metrics_of(line)]
    receipt = folder / "receipt.json"
    if receipt.exists():
        last = max(round(1000 * line["at"]) for line in lines)
        points += final_metrics(json.loads(receipt.read_text()), last)
    return sorted(points)


@contextlib.contextmanager
def server(answer: bytes | None, heard: list[bytes] | None = None) -> Iterator[str]:
    """A URI on loopback that takes connections and says `answer` to each, or nothing ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = listener.accept()
                held.append(one)
                one.settimeout(5)
                if answer is not None:
                    with contextlib.suppress(OSError):
                        (heard if heard is not None else []).append(one.recv(65536))
                        one.sendall(answer)
                        one.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        for one in held:
            one.close()


def closed_port() -> str:
    """A URI on loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def train_watched(out: Path, uri: str) -> None:
    """Train with the events of this process recorded: every address that it connects to or asks
    for by name. Variables by which MLflow takes itself for tested are removed first.
    """
    for name in ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "RUNBOT_HOST_URL"):
        os.environ.pop(name, None)
    asked: list[str] = []

    def watch(event: str, words: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
            asked.append(repr(words[0] if event == "socket.getaddrinfo" else words[1]))

    sys.addaudithook(watch)
    from pictures import small_recipe, write_pictures

    from foveate.engine.fit import fit

    fit(small_recipe(write_pictures(out.parent / "data"), epochs=1), out=out, tracking=uri or None)
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(5)  # telemetry asks from a thread of its own, when MLflow is imported
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION")
    print(json.dumps({"asked": asked, "environment": {n: os.environ.get(n) for n in names}}))


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train_watched(Path(sys.argv[2]), sys.argv[3])
    else:
        connect(f"sqlite:///{Path(sys.argv[2]) / 'mlflow.db'}").create_experiment(str(os.getpid()))
