"""Where a run is tracked: the URI, what may be shown of it, and a client that gives up soon."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..failure import TrackingError
from ..run.listing import cache_folder

OFF = "none"
"""`--tracking none`: `metrics.jsonl` alone."""
SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
"""Set whatever was set before: nothing about a run goes to anybody who was not named."""
MANNERS = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow waits 120
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # we retry, for as long as the run lasts
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set where the environment does not say otherwise."""


def choose_uri(folder: Path, tracking: str | None, before: str = "") -> str:
    """What was asked for, the environment's, where this run went `before`, or `mlflow.db` beside
    the run folder. Empty for `none`.
    """
    default = f"sqlite:///{folder.absolute().parent / 'mlflow.db'}"
    uri = tracking or os.environ.get("MLFLOW_TRACKING_URI") or before or default
    return "" if uri == OFF else uri


def show_uri(uri: str) -> str:
    """The URI without user, password and query: what may be printed and written down."""
    if uri.startswith("sqlite:"):
        return uri.partition("?")[0]
    return re.sub(r"(?<=://).*@", "", uri).partition("?")[0]


def clean(text: str, uri: str) -> str:
    """One line of at most 300 characters of an error, without the secrets of `uri`."""
    shown = show_uri(uri)
    text = text.replace(uri, shown)
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:300]


def _secrets(uri: str) -> set[str]:
    found = {os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("PASSWORD", "TOKEN")}
    if not uri.startswith("sqlite:"):
        login = re.search(r"(?<=://).*(?=@)", uri)
        parts = {login[0], login[0].partition(":")[2]} if login else set()
        query = uri.partition("?")[2]
        parts |= {query, *(pair.partition("=")[2] for pair in query.split("&"))}
        found |= parts | {unquote(part) for part in parts}
    return found - {""}


def prepare_environment() -> None:
    """What MLflow reads from the environment, set before it is imported."""
    os.environ.update(SILENCE)
    for name, value in MANNERS.items():
        os.environ.setdefault(name, value)


def connect(uri: str) -> Any:
    """A client of our own for `uri`: `mlflow.set_tracking_uri` and autologging are left alone.

    Imports MLflow, which takes a second or more. Raises TrackingError where it is not installed.
    """
    prepare_environment()
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise TrackingError(
            f"MLflow cannot be imported ({error}); `pip install mlflow-skinny sqlalchemy alembic`, "
            "or give --tracking none",
            final=True,
        ) from None
    for name in ("mlflow", "alembic"):  # their warnings may quote the URI
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        _make_database(Path(show_uri(uri).removeprefix("sqlite:///")), MlflowClient)
    return MlflowClient(tracking_uri=_hide_login(uri))


def _hide_login(uri: str) -> str:
    """A server's URI with its user and password moved to where MLflow looks for them.

    MLflow prints the URI that it is given, and its errors quote it.
    """
    found = re.match(r"(https?://)(.*)@", uri)
    if found is None:
        return uri
    user, _, password = found[2].partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
    return found[1] + uri[found.end() :]


def artifact_folder(uri: str) -> str | None:
    """Where files go: `mlartifacts` beside a sqlite file; a server says itself."""
    if not uri.startswith("sqlite:///"):
        return None
    path = Path(show_uri(uri).removeprefix("sqlite:///")).absolute()
    return (path.parent / "mlartifacts").as_uri()


def _make_database(path: Path, client: Any) -> None:
    """An empty database with its tables, whole: a copy of one that is made once per machine.

    MLflow's 60 or so migrations take 2 s of processor and up to 10 s of disk, and are no
    transaction: a process killed among them leaves tables that no later one can bring up to date.
    So they run on a file beside, under a lock however many processes start, which is then renamed.
    """
    from mlflow.version import VERSION

    def migrate(beside: Path) -> None:
        client(tracking_uri=f"sqlite:///{beside}").search_experiments(max_results=1)

    def copy(beside: Path) -> None:
        beside.write_bytes(made.read_bytes())

    made = cache_folder() / f"mlflow-{VERSION}.db"
    if not path.exists():
        _make_once(made, migrate)
        _make_once(path, copy)


def _make_once(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        beside = path.with_name(path.name + ".partial")
        for left in (beside, beside.with_name(beside.name + "-journal")):
            left.unlink(missing_ok=True)
        write(beside)
        beside.replace(path)
