"""What a verb says to a program instead of a person: JSON, in a file or on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def write_answer(path: str | None, facts: Any) -> bool:
    """Write to `path`, or to standard output for "-"; False where no path was given."""
    if not path:
        return False
    text = json.dumps(facts, indent=1, default=str) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)
    return True
