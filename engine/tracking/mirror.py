"""Brings one MLflow run to the state of a run folder; every call may fail and be made again.

The folder is only read, but for the cursor. MLflow drops a metric that it has already (same key,
step, time and value), and what has no such rule (runs, models) is looked for before it is made.
When a resume took steps back that were replayed, MLflow has no way to take them back too: a new
MLflow run takes the place of the old one, which is deleted (restorable, as MLflow deletes).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ..failure import TrackingError
from ..run.folder import read_json
from . import translate
from .cursor import (
    NAME,
    Cursor,
    count_lines,
    hash_bytes,
    hash_file,
    read_cursor,
    read_new,
    was_cut,
)
from .store import artifact_folder, connect, show_uri

METRICS_PER_BATCH = 1000  # MLflow's limits
FACTS_PER_BATCH = 100
AT_ANY_TIME = ("recipe.json", "plan.json", "failure.json", "evidence/*.png", "evidence/*.txt")
AT_THE_END = ("receipt.json", "report.html", "metrics.jsonl")
OPEN = "RUNNING"


class Mirror:
    """One run folder and its MLflow run. `advance` raises whatever the store raises."""

    def __init__(self, folder: Path, uri: str, connect: Callable[[str], Any] = connect) -> None:
        self.folder, self.uri, self._connect = folder, uri, connect
        self.cursor = read_cursor(folder, show_uri(uri)) or Cursor(show_uri(uri))
        self._client: Any = None
        self._is_open = False

    def advance(self, live: bool) -> None:
        """Replay everything that is new. `live`: somebody is training, so the run stays open."""
        if not (self.folder / NAME).exists():
            self._save()  # where to, should this run end before anything arrived there
        self._client = self._client or self._connect(self.uri)
        self.recipe, self.plan, self.receipt, self.failure = (
            read_json(self.folder / f"{name}.json") or {}
            for name in ("recipe", "plan", "receipt", "failure")
        )
        if was_cut(self.folder, self.cursor):
            self.cursor.start_over()
            self._is_open = False
        self._open()
        self._log_facts()
        self._log_lines()
        if self.receipt:
            self._log_end()
        self._log_status(live)
        self._log_files()
        if self.receipt:
            self._log_model()
            self.cursor.finished = hash_file(self.folder / "receipt.json")
            self._save()

    @property
    def behind(self) -> int:
        """Lines of `metrics.jsonl` that are not in MLflow."""
        return count_lines(self.folder) - self.cursor.lines

    def _save(self) -> None:
        self.cursor.save(self.folder)

    def _open(self) -> None:
        """Have an experiment and a run, and no run of steps that were taken back."""
        if self._is_open:
            return
        cursor = self.cursor
        if cursor.run_id and not self._is_there(cursor.run_id):
            cursor.run_id = ""
            cursor.start_over()
        cursor.experiment_id = cursor.experiment_id or self._find_experiment()
        self._save()  # the key is on the disk before a run with it is made
        cursor.run_id = cursor.run_id or self._find_run() or self._make_run()
        self._save()
        for old in list(cursor.superseded):
            self._retire(old)
            cursor.superseded.remove(old)
            self._save()
        self._is_open = True

    def _find_experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or translate.experiment_name(self.recipe)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            where = artifact_folder(self.uri)
            return str(self._client.create_experiment(name, artifact_location=where))
        return str(found.experiment_id)

    def _find_run(self) -> str:
        """The run that was made under our key by a process that could not write down its id."""
        asked = f"tags.`foveate.key` = '{self.cursor.key}'"
        found = self._client.search_runs([self.cursor.experiment_id], asked, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _make_run(self) -> str:
        line = next((line for line, _ in read_new(self.folder, Cursor(""))), {})
        made = self._client.create_run(
            self.cursor.experiment_id,
            start_time=translate.milliseconds(line) or None,
            tags={"foveate.key": self.cursor.key},
            run_name=self.folder.absolute().name,
        )
        return str(made.info.run_id)

    def _is_there(self, run_id: str) -> bool:
        """Raises TrackingError where a person deleted the run: that is not undone."""
        found = self._get_run(run_id)
        if found is not None and found.info.lifecycle_stage == "deleted":
            raise TrackingError(
                f"MLflow run {run_id} of {self.folder} was deleted there; restore it, or remove "
                f"{self.folder / 'mlflow.json'} to make a new one",
                final=True,
            )
        return found is not None

    def _get_run(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _retire(self, run_id: str) -> None:
        found = self._get_run(run_id)
        if found is not None and found.info.lifecycle_stage != "deleted":
            self._client.set_tag(run_id, "foveate.superseded_by", self.cursor.run_id)
            self._client.delete_run(run_id)

    def _once(self, name: str, facts: Any) -> bool:
        """Whether `facts` have to be sent: they are not what was sent under that name."""
        return self.cursor.sent.get(name) != hash_bytes(json.dumps(facts).encode())

    def _done(self, name: str, facts: Any) -> None:
        self.cursor.sent[name] = hash_bytes(json.dumps(facts).encode())
        self._save()

    def _log_facts(self) -> None:
        """Parameters and tags. MLflow keeps the first value of a parameter: it is not changed."""
        from mlflow.entities import Param, RunTag

        run_id = self.cursor.run_id
        wanted = translate.parameters(self.recipe, self.plan)
        if self._once("parameters", wanted):
            there = self._client.get_run(run_id).data.params
            new = [Param(key, text) for key, text in wanted.items() if key not in there]
            for some in _batches(new, FACTS_PER_BATCH):
                self._client.log_batch(run_id, params=some, synchronous=True)
            self._done("parameters", wanted)
        said = translate.tags(self.recipe, self.receipt)
        if self._once("tags", said):
            marks = [RunTag(key, text) for key, text in said.items()]
            self._client.log_batch(run_id, tags=marks, synchronous=True)
            self._done("tags", said)

    def _log_lines(self) -> None:
        """Metrics of the new lines, at most 1,000 a call; the cursor moves after each."""
        waiting: list[translate.Metric] = []
        position = None
        for line, after in read_new(self.folder, self.cursor):
            found = translate.metrics_of(line)
            if position and len(waiting) + len(found) > METRICS_PER_BATCH:
                self._send(waiting)
                self.cursor.move(position)
                self._save()
                waiting = []
            waiting, position = waiting + found, after
        if position:
            self._send(waiting)
            self.cursor.move(position)
            self._save()

    def _send(self, metrics: list[translate.Metric], **of_model: Any) -> None:
        from mlflow.entities import Metric

        entities = [Metric(*metric, **of_model) for metric in metrics]
        for some in _batches(entities, METRICS_PER_BATCH):
            self._client.log_batch(self.cursor.run_id, metrics=some, synchronous=True)

    def _last_ms(self) -> int:
        """When the last line was written: the same however often it is asked."""
        at = [translate.milliseconds(line) for line, _ in read_new(self.folder, Cursor("")) if line]
        return max(at, default=0)

    def _log_end(self) -> None:
        """The data set, the model as an entry, and the final scores, which belong to both."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput

        cursor, data = self.cursor, translate.dataset(self.recipe, self.receipt)
        if not self._once("end", self.receipt):
            return
        use = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(cursor.run_id, [DatasetInput(Dataset(**data), use)])
        cursor.model_id = cursor.model_id or self._find_model() or self._make_model()
        self._save()
        linked = self._client.get_run(cursor.run_id).outputs
        if not linked or not linked.model_outputs:
            output = LoggedModelOutput(cursor.model_id, self.receipt.get("steps", 0))
            self._client.log_outputs(cursor.run_id, [output])
        scores = translate.final_metrics(self.receipt, self._last_ms())
        of_model = {"model_id": cursor.model_id, "run_id": cursor.run_id}
        named = {"dataset_name": data["name"], "dataset_digest": data["digest"]}
        self._send(scores, **of_model, **named)
        self._done("end", self.receipt)

    def _find_model(self) -> str:
        asked = f"source_run_id = '{self.cursor.run_id}'"
        found = self._client.search_logged_models([self.cursor.experiment_id], asked, max_results=1)
        return str(found[0].model_id) if found else ""

    def _make_model(self) -> str:
        task = self.recipe.get("task", {})
        made = self._client.create_logged_model(
            self.cursor.experiment_id,
            name=str(task.get("model") or "model").replace(":", "-").replace("/", "-"),
            source_run_id=self.cursor.run_id,
            tags={"foveate.weights_sha256": self.receipt["scored_sha256"]},
            params={"scored": self.receipt["scored"], "size": str(self.recipe["size"])},
            model_type=str(task.get("kind", "")).lower(),
        )
        return str(made.model_id)

    def _log_status(self, live: bool) -> None:
        """FINISHED with a receipt, FAILED after a failure, KILLED where it just stopped."""
        status = OPEN if live else "FAILED" if self.failure else "KILLED"
        status = "FINISHED" if self.receipt else status
        before = self.cursor.sent.get("status", OPEN)
        if status == before:
            return
        if status == OPEN:
            self._client.update_run(self.cursor.run_id, status=status)
        else:
            end = self._last_ms() or None
            self._client.set_terminated(self.cursor.run_id, status=status, end_time=end)
        self.cursor.sent["status"] = status
        self._save()

    def _log_files(self) -> None:
        """Each file whose content is not what was sent."""
        patterns = AT_ANY_TIME + (AT_THE_END if self.receipt else ())
        paths = [path for pattern in patterns for path in sorted(self.folder.glob(pattern))]
        for path in paths:
            name = path.relative_to(self.folder)
            sha256 = hash_file(path)
            if self.cursor.sent.get(name.as_posix()) == sha256:
                continue
            within = None if name.parent == Path(".") else name.parent.as_posix()
            self._client.log_artifact(self.cursor.run_id, str(path), within)
            self.cursor.sent[name.as_posix()] = sha256
            self._save()

    def _log_model(self) -> None:
        """The scored weights with their signature, laid out as a run folder in small."""
        weights, scored = translate.weights_file(self.receipt), self.receipt["scored_sha256"]
        text = translate.describe_model(self.recipe, self.receipt)
        if not self._once("model", [scored, text]) or not (self.folder / weights).exists():
            return
        for name in ("recipe.json", "plan.json", "receipt.json"):
            self._client.log_model_artifact(self.cursor.model_id, str(self.folder / name))
        self._client.log_model_artifact(
            self.cursor.model_id, str(self.folder / weights), Path(weights).parent.as_posix()
        )
        with tempfile.TemporaryDirectory() as beside:
            path = Path(beside) / "MLmodel"
            path.write_text(text + "\n")
            self._client.log_model_artifact(self.cursor.model_id, str(path))
        self._client.finalize_logged_model(self.cursor.model_id, "READY")
        self._done("model", [scored, text])


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
