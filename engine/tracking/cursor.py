"""`mlflow.json`: how far a run folder was replayed into MLflow, and what of it is new."""

from __future__ import annotations

import fcntl
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ...dataloaders.errors import StorageError
from ..failure import TrackingError
from ..run.folder import read_json, write_json

FORMAT = 1
NAME = "mlflow.json"
EMPTY = hashlib.sha256().hexdigest()
Position = tuple[int, int, Any]
"""Lines, bytes, and a sha256 object of those bytes."""


@dataclass
class Cursor:
    """Position of the replay, saved after each batch that MLflow took."""

    tracking: str
    """URI without credentials."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tag of the MLflow run, chosen before it is made: a run whose id was lost is found again."""
    experiment_id: str = ""
    run_id: str = ""
    model_id: str = ""
    lines: int = 0
    """Lines of `metrics.jsonl` that are in MLflow."""
    bytes: int = 0
    sha256: str = EMPTY
    """Of those bytes, to notice that a resume cut or changed them."""
    sent: dict[str, str] = field(default_factory=dict)
    """Name of a file or a set of facts -> sha256 of what was sent."""
    superseded: list[str] = field(default_factory=list)
    """MLflow runs with steps that a resume took back, to be deleted there."""
    finished: str = ""
    """sha256 of the receipt, once everything is there."""
    format: int = FORMAT

    def save(self, folder: Path) -> None:
        """Durable and whole."""
        write_json(folder / NAME, asdict(self))

    def move(self, position: Position) -> None:
        """Forward, to a position that `read_new` gave."""
        self.lines, self.bytes, digest = position
        self.sha256 = digest.hexdigest()

    def start_over(self) -> None:
        """The next line to replay is the first, in a new MLflow run."""
        if self.run_id:
            self.superseded.append(self.run_id)
        self.key, self.experiment_id, self.run_id, self.model_id = uuid.uuid4().hex, "", "", ""
        self.lines, self.bytes, self.sha256 = 0, 0, EMPTY
        self.sent, self.finished = {}, ""


def read_cursor(folder: Path, tracking: str = "") -> Cursor | None:
    """The folder's cursor; None where there is none, or where it points at another `tracking`.

    A damaged one counts as none. Raises TrackingError for a newer format.
    """
    try:
        facts = read_json(folder / NAME)
    except StorageError:
        return None
    if facts is None or tracking not in ("", facts.get("tracking")):
        return None
    if facts.get("format", 0) > FORMAT:
        raise TrackingError(f"{folder / NAME} is of a newer format; upgrade foveate", final=True)
    known = {item.name for item in fields(Cursor)}
    return Cursor(**{name: value for name, value in facts.items() if name in known})


@contextmanager
def hold_cursor(folder: Path, wait: bool) -> Iterator[None]:
    """One replay per folder at a time. Raises TrackingError where another has it, unless `wait`."""
    with open(folder / "mlflow.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise TrackingError(
                f"another process is replaying {folder}; it will be done without this one"
            ) from None
        yield


def was_cut(folder: Path, cursor: Cursor) -> bool:
    """Whether lines that were replayed are gone or changed: a resume went back to a checkpoint."""
    return hash_bytes(_content(folder)[: cursor.bytes]) != cursor.sha256


def read_new(folder: Path, cursor: Cursor) -> Iterator[tuple[dict[str, Any], Position]]:
    """Each whole line past the cursor, and where the cursor is once that line is replayed.

    A line that is no JSON object is passed over, as everywhere.
    """
    content = _content(folder)
    digest, place, number = hashlib.sha256(content[: cursor.bytes]), cursor.bytes, cursor.lines
    while (end := content.find(b"\n", place) + 1) > 0:
        digest.update(content[place:end])
        line, place, number = content[place:end], end, number + 1
        yield _parse(line), (number, place, digest.copy())


def count_lines(folder: Path) -> int:
    """Whole lines of the record."""
    return _content(folder).count(b"\n")


def hash_bytes(data: bytes) -> str:
    """sha256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    """sha256 of a file's content, "" where there is none."""
    return hash_bytes(path.read_bytes()) if path.exists() else ""


def _content(folder: Path) -> bytes:
    path = folder / "metrics.jsonl"
    return path.read_bytes() if path.exists() else b""


def _parse(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
