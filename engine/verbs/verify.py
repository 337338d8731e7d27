"""Verbs that look at a data set before anything is trained on it; they show on standard output."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..failure import UsageError
from ..recipe import expand
from ..run.console import open_console
from .answer import write_answer
from .guards import check_output

if TYPE_CHECKING:
    from ..verify.verifying import Request


def verify(known: Namespace) -> int:
    """`foveate data verify ROOT|RECIPE [--record [PATH]] [--names [PATH]]`; 20 where it is unfit"""
    from ..verify import verifying

    if known.help:
        known.parser.print_help()
        return 0
    check_output(known.json)
    request = _read_request(known)
    with closing(open_console(known.quiet, aside=known.json == "-")) as console:
        seen, said = verifying.verify(request, console)
    from ..verify.page import describe_survey, name_files

    if not write_answer(known.json, said):
        print(describe_survey(seen, said))
    if known.names == "-":
        for line in name_files(seen):
            print(_printable(line), file=sys.stderr if known.json == "-" else sys.stdout)
    elif known.names:
        from ...dataloaders.verify.record import write_whole

        text = "\n".join([*name_files(seen), ""]).encode(errors="surrogateescape")
        write_whole(Path(known.names), text, private=True)
    return 0 if seen.clean else 20


def split(known: Namespace) -> int:
    """`foveate data split ROOT --by PATTERN|TABLE.csv --parts train=0.7 val=0.15 test=0.15`"""
    from ..verify import splitting

    cut, said = splitting.split(
        known.root, known.by, _read_shares(known.parts), known.stratify, known.seed, known.out
    )
    print(splitting.describe_cut(cut, said))
    return 0


def _read_request(known: Namespace) -> Request:
    """What to verify: a folder where there is one of that name, else a recipe's data."""
    from ..verify.verifying import Request, request_recipe

    extra = {"record": known.record, "table": known.table}
    if Path(known.what).is_dir():
        if known.rest:
            raise UsageError(f"{known.rest[0]} is a recipe's field, and {known.what} is a folder")
        return Request(expand(known.what).absolute(), group=known.group, **extra)
    from .. import catalog
    from .overrides import override

    recipe = override(catalog.find(known.what), known.rest, known.parser.flags)
    return request_recipe(recipe, group=known.group, **extra)


def _read_shares(words: list[str]) -> dict[str, float]:
    """`train=0.7 val=0.3` -> shares that add up to 1. Raises UsageError."""
    from ...dataloaders.split.table import PARTS

    shares: dict[str, float] = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if name not in PARTS or name in shares or not 0 < share < 1:
            raise UsageError(f"--parts {word}: write {'|'.join(PARTS)}=SHARE, as in train=0.7")
        shares[name] = share
    if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"--parts {' '.join(words)}: two or more shares that add up to 1")
    return shares


def _printable(line: str) -> str:
    """A name that is no UTF-8 must not end the verb that shows it."""
    return line.encode(errors="backslashreplace").decode()
