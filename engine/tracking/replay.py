"""MLflow as a replay of the run folder, from a thread that training never waits for.

`metrics.jsonl` is the truth, MLflow a copy that catches up: a store that is dead, slow or absent
costs no step and no line. What a run could not deliver is delivered by `foveate runs sync RUN` or
by the next `foveate train` of that run.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ..failure import TrackingError
from ..run.console import Console
from .cursor import Cursor, count_lines, hash_file, hold_cursor, read_cursor
from .mirror import Mirror
from .store import choose_uri, clean, show_uri

WAIT_S = 5.0
"""Longest that a run which is over waits for its replay."""
POLL_S = 2.0
LONGEST_PAUSE_S = 60.0


class Replay:
    """The thread of one run. `start` once the record is cut to its checkpoint, `close` at the end.

    Neither raises: what goes wrong is said in one line, once until it is mended.
    """

    def __init__(self, folder: Path, tracking: str | None, console: Console) -> None:
        self.folder, self.console = folder, console
        self.uri = _where(folder, tracking)
        self._ending, self._left = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = self._caught_up = False

    def start(self) -> None:
        """Begin to replay, unless tracking is off."""
        if self.uri and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="replay", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for the rest, 5 seconds at most; say so if it takes longer."""
        if self._thread is None:
            return
        self._ending.set()
        self._thread.join(WAIT_S)
        self._left.set()
        if not self._caught_up:
            cursor = read_cursor(self.folder, show_uri(self.uri)) or Cursor("")
            self.console.say(
                f"tracking: {cursor.lines} of {count_lines(self.folder)} lines are in "
                f"{show_uri(self.uri)}; `foveate runs sync {self.folder}` brings the rest"
            )

    def _work(self) -> None:
        try:
            with hold_cursor(self.folder, wait=True):
                mirror = Mirror(self.folder, self.uri)
                pause_s = 1.0
                while not self._left.is_set():
                    ending = self._ending.is_set()
                    self._caught_up = self._try(mirror, live=not ending) and ending
                    if ending:
                        return
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if self._failing else POLL_S
                    self._ending.wait(pause_s)
        except (TrackingError, OSError) as error:
            self._say(error)

    def _try(self, mirror: Mirror, live: bool) -> bool:
        try:
            mirror.advance(live)
        except Exception as error:  # stores, drivers and HTTP have errors of their own
            if isinstance(error, TrackingError) and error.final:
                raise
            if not self._failing and not self._left.is_set():  # nothing is said after the end
                self._say(error)
            self._failing = True
            return False
        if self._failing:
            self._failing = False
            self.console.say(f"tracking: {show_uri(self.uri)} answers again")
        return True

    def _say(self, error: Exception) -> None:
        text = clean(str(error), self.uri)
        self.console.say(
            f"tracking: {show_uri(self.uri)}: {text}; training goes on, the record is "
            f"{self.folder / 'metrics.jsonl'}"
        )


def _where(folder: Path, tracking: str | None) -> str:
    try:
        before = read_cursor(folder)
    except TrackingError:
        before = None
    return choose_uri(folder, tracking, before.tracking if before else "")


def is_behind(folder: Path, tracking: str | None) -> bool:
    """Whether a finished run is not wholly in MLflow; known without asking MLflow."""
    uri = _where(folder, tracking)
    try:
        cursor = read_cursor(folder, show_uri(uri))
    except TrackingError:
        return False
    return bool(uri) and (cursor is None or cursor.finished != hash_file(folder / "receipt.json"))


def catch_up(folder: Path, tracking: str | None, console: Console) -> None:
    """Bring MLflow up to date with a finished run, for 5 seconds at most."""
    if is_behind(folder, tracking):
        replay = Replay(folder, tracking, console)
        replay.start()
        replay.close()


def sync_run(folder: Path, tracking: str | None) -> str:
    """Replay a run folder to its end, however long it takes; returns what is where, in one line.

    Raises TrackingError where the store does not take it, or another process is at it.
    """
    uri = _where(folder, tracking)
    if not uri:
        raise TrackingError(f"nowhere to bring {folder} to; give --tracking URI")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # nothing else waits for it here
    with hold_cursor(folder, wait=False):
        mirror = Mirror(folder, uri)
        try:
            mirror.advance(live=False)
        except TrackingError:
            raise
        except Exception as error:  # stores, drivers and HTTP have errors of their own
            raise TrackingError(
                f"{show_uri(uri)}: {clean(str(error), uri)}; {mirror.behind} lines of {folder} "
                "are not there yet, the same command goes on"
            ) from None
    cursor = mirror.cursor
    return f"{folder}  {cursor.lines} lines  {show_uri(uri)}  run {cursor.run_id}"
