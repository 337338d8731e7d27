"""Verbs for a person who is stuck; they run where torch does not."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from .answer import write_answer
from .guards import check_output


def help_topic(known: Namespace) -> int:
    """`foveate help [TOPIC]`"""
    from ..topics.reader import list_topics, read_topic

    print(read_topic(" ".join(known.topic)) if known.topic else list_topics())
    return 0


def doctor(known: Namespace) -> int:
    """`foveate doctor`; 0 where nothing was found that would stop a run."""
    check_output(known.json)
    from ..doctor.diagnosis import diagnose
    from ..doctor.page import describe_diagnosis

    cache = os.environ.get("FOVEATE_CACHE") or "~/.cache/foveate"
    found = diagnose(Path(os.path.expanduser(cache)), known.runs)
    if not write_answer(known.json, found.to_dict()):
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(describe_diagnosis(found, colour))
    return found.exit_code
