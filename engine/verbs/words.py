"""What the flags of every verb are made of: one line per mistake, verbs, groups, numbers."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any

from ... import __version__
from ..failure import UsageError

FIELDS = (
    "Any recipe field is a flag: --optimizer.lr 0.1 --data.no-shuffle-labels "
    "--schedule.sizes 96 128. Give a recipe to see its fields: foveate {} RECIPE --help"
)


class Parser(argparse.ArgumentParser):
    """argparse with one line per mistake, no guessing of shortened flags, and a nearest name."""

    def __init__(self, *words: Any, **settings: Any) -> None:
        self.flags: list[str] = []
        """Long flags, to find the nearest by."""
        super().__init__(*words, **{"allow_abbrev": False, **settings})

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As argparse has it, remembering the long flags."""
        self.flags += [name for name in names if str(name).startswith("--")]
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> Any:
        """Raises UsageError, with the nearest of what could have been meant."""
        wrong = re.match(r"argument (.+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong and not wrong[1].startswith("-"):
            verbs = re.findall(r"[\w-]+", wrong[3])
            near = nearest(wrong[2], verbs)
            raise UsageError(
                f"no verb '{wrong[2]}'{near or f'; it is one of {chr(32).join(verbs)}'}"
            )
        raise UsageError(f"{message}; `{self.prog} --help` shows what there is")


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'train'?` for 'trian', empty where nothing is close."""
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean '{close[0]}'?" if close else ""


def add_shared(parser: Parser) -> None:
    """Flags that may stand anywhere: taken out before the verb reads its own."""
    parser.add_argument("--version", action="version", version=f"foveate {__version__}")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv: all")
    parser.add_argument(
        "--cache", default="", metavar="DIR", help="packs and twins (default ~/.cache/foveate)"
    )


def verb(verbs: Any, name: str, run: str, text: str, fields: bool = False) -> Parser:
    """`fields`: it takes a recipe, and any of the recipe's fields as a flag."""
    note = FIELDS.format(name) if fields else None
    verb = verbs.add_parser(name, help=text, description=text, epilog=note)
    add_shared(verb)
    verb.set_defaults(run=run, parser=verb, fields=fields)
    if fields:
        verb.add_argument(
            "recipe", metavar="RECIPE", help="a name, a file, or either with :variant"
        )
    return verb


def group(verbs: Any, name: str, text: str, inner: str, run: str) -> Any:
    """A verb of verbs, and what it does when it stands alone."""
    group = verbs.add_parser(name, help=text, description=text)
    add_shared(group)
    group.set_defaults(run=run, parser=group, fields=False)
    return group.add_subparsers(title="verbs", metavar=inner, parser_class=Parser)


def add_json(verb: Parser, what: str) -> None:
    """Where the answer goes as JSON."""
    verb.add_argument("--json", metavar="PATH", help=f"write the {what} as JSON, - for stdout")


def add_tracking(verb: Parser) -> None:
    """Where the run is tracked."""
    verb.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow server or database, or none (default MLFLOW_TRACKING_URI, or mlflow.db "
        "beside the run folder)",
    )


def count(text: str) -> int:
    """1 or more, for argparse."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """0 or more, for argparse."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    """argparse turns the error into its own `argument --world: ...`."""
    if not re.fullmatch(r"\d+", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return int(text)
