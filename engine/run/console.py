"""What a run says while it works: bars on a terminal, lines elsewhere, a log in a library."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, int], None]
log = logging.getLogger("foveate")


class Console(Protocol):
    """Where `fit` reports to."""

    def stage(self, text: str) -> AbstractContextManager[Advance]:
        """A context; calling what it gives with (done, total) shows how far the stage is."""

    def step(self, text: str, done: int, total: int) -> None:
        """How far training is, with its step line."""

    def say(self, text: str) -> None:
        """One line that matters."""


class Logged:
    """The library's own: everything goes to logging.getLogger("foveate")."""

    @contextmanager
    def stage(self, text: str) -> Iterator[Advance]:
        log.info("%s", text)
        yield lambda done, total: None

    def step(self, text: str, done: int, total: int) -> None:
        log.info("step %d/%d %s", done, total, text)

    def say(self, text: str) -> None:
        log.info("%s", text)

    def close(self) -> None:
        """Nothing to put back."""


class Lines:
    """Plain lines for a pipe, a log file or a CI page: one every few seconds per stage."""

    EVERY_S = 5.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self._last = 0.0

    @contextmanager
    def stage(self, text: str) -> Iterator[Advance]:
        self._last = time.monotonic()

        def advance(done: int, total: int) -> None:
            if time.monotonic() - self._last > self.EVERY_S:
                self._last = time.monotonic()
                self.say(f"{text}: {done:,} of {total:,}")

        yield advance

    def step(self, text: str, done: int, total: int) -> None:
        self.say(f"step {done}/{total}  {text}")

    def say(self, text: str) -> None:
        try:
            self.stream.write(f"{text}\n")
            self.stream.flush()  # a log file shows each line as it is said
        except BrokenPipeError:  # whoever read along has left: hours of training go on
            self.stream = open(os.devnull, "w")  # noqa: SIM115 - until the run ends

    def close(self) -> None:
        """Nothing to put back."""


class Bars(Lines):
    """Progress bars for a terminal, with the lines above them."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        from rich.console import Console as RichConsole

        self.rich = RichConsole(file=self.stream, soft_wrap=True, highlight=False)
        self._training: Progress | None = None

    @contextmanager
    def stage(self, text: str) -> Iterator[Advance]:
        self._end()  # rich draws one set of bars at a time
        with self._bar() as bar:
            task = None

            def advance(done: int, total: int) -> None:
                nonlocal task
                if task is None:  # nothing is drawn for a stage with nothing to do
                    task = bar.add_task(text, total=total)
                bar.update(task, completed=done, total=total)

            yield advance

    def step(self, text: str, done: int, total: int) -> None:
        if self._training is None:
            self._training = self._bar()
            self._training.start()
            self._training.add_task("training", total=total)
        self._training.update(self._training.task_ids[0], completed=done)
        super().step(text, done, total)
        if done >= total:
            self._end()

    def say(self, text: str) -> None:
        self.rich.print(text, markup=False)  # above the bar, if there is one

    def close(self) -> None:
        """Give the terminal its cursor back, whatever ended the run."""
        self._end()

    def _end(self) -> None:
        training, self._training = self._training, None
        if training is not None:
            training.stop()

    def _bar(self) -> Progress:
        from rich import progress

        return progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=self.rich,
        )


def open_console(quiet: bool = False, aside: bool = False) -> Logged | Lines:
    """Bars on a terminal, lines elsewhere, the log alone where `quiet`.

    `aside`: on standard error, because standard output is for a program.
    """
    stream = sys.stderr if aside else sys.stdout
    if quiet:
        return Logged()
    return Bars(stream) if stream.isatty() else Lines(stream)
