"""What a run says while it works: bars for people, lines for pipes."""

from __future__ import annotations

import io
import os
import sys

import pytest

from foveate.engine.run import console


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "bars"), [(Terminal(), True), (io.StringIO(), False)])
def test_bars_are_drawn_on_a_terminal_only(monkeypatch, stream, bars):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    shown = console.open_console()
    with shown.stage("decoding") as advance:
        advance(1, 2)
    shown.step("loss 1.5", 1, 2)
    shown.say("a note")
    shown.close()
    text = stream.getvalue()
    assert ("\x1b" in text) == ("decoding" in text) == bars
    assert "step 1/2  loss 1.5" in text and "a note" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is given back


def test_a_reader_that_leaves_does_not_end_the_run():
    read, write = os.pipe()
    os.close(read)
    lines = console.Lines(os.fdopen(write, "w", closefd=False))
    lines.say("nobody hears this")
    lines.say("nor this")
    os.close(write)


def test_progress_makes_way_for_a_result_that_a_program_reads(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console.open_console(aside=True).say("a note")
    console.open_console(quiet=True).say("not this")
    assert (out.getvalue(), err.getvalue()) == ("", "a note\n")
