"""Short texts for a person who is stuck: Markdown files beside this one, one for each topic."""

from __future__ import annotations

import difflib
from pathlib import Path

from ..failure import EXIT_CODES, UsageError

FOLDER = Path(__file__).parent


def topics() -> dict[str, str]:
    """Topic -> its title, sorted."""
    paths = sorted(FOLDER.glob("*.md"))
    return {path.stem: path.read_text().partition("\n")[0].lstrip("# ") for path in paths}


def read_topic(name: str) -> str:
    """The text of a topic. Raises UsageError (exit code 2) with the nearest where there is none."""
    known = topics()
    stem = name.lower().replace("_", "-").replace(" ", "-")
    if stem not in known:
        close = difflib.get_close_matches(stem, known, 1, 0.5)
        part = [topic for topic in known if stem and stem in topic.split("-")]
        near = next(iter([*part, *close]), "")
        lists = "; `foveate help` lists them"
        raise UsageError(f"no topic '{name}'{f'; did you mean {near!r}?' if near else lists}")
    text = (FOLDER / f"{stem}.md").read_text()
    codes = "\n".join(f"    {code:3}  {said}" for code, said in EXIT_CODES.items())
    return text.replace("{exit_codes}", codes).lstrip("# ").rstrip()


def list_topics() -> str:
    """What `foveate help` prints: a line for each topic."""
    lines = [f"  {name:12} {title}" for name, title in topics().items()]
    return "\n".join(["foveate help TOPIC", *lines, "", "`foveate --help` lists the verbs."])
