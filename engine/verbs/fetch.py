"""`foveate data fetch`: the public data sets as a table, or one of them brought here."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...dataloaders.fetch.bring import Brought, bring, read_card
from ...dataloaders.fetch.catalogue import SETS, checked_by, find_set
from ...dataloaders.fetch.entry import DataSet
from ...dataloaders.fetch.trust import Ledger
from .. import catalog
from ..failure import UsageError
from ..run.console import open_console
from .answer import write_answer
from .guards import check_output

UNTRIED = "address not tried by us"
LEDGER = "fetched.json"
"""In the cache: hashes of first downloads."""


def fetch(known: Namespace) -> int:
    """`foveate data fetch [NAME] [--to DIR] [--yes]`"""
    check_output(known.json)
    if not known.name:
        return _list(known)
    entry = find_set(known.name)
    root = known.to or Path("data", entry.name)
    if read_card(root) is None:
        _introduce(entry, root, aside=known.json == "-")
        _ask(entry, known.yes)
    from ..run.listing import cache_folder

    with closing(open_console(known.quiet, aside=known.json == "-")) as console:
        found = bring(entry, root, Ledger(cache_folder() / LEDGER), console)
    if not write_answer(known.json, _facts(entry, found)):
        _tell(entry, found)
    return 0


def _list(known: Namespace) -> int:
    rows = [_row(entry) for entry in SETS]
    if write_answer(known.json, {"format": 1, "sets": rows}):
        return 0
    for row in rows:
        print(f"{row['name']:17} {_size(row['bytes']):>8}  {row['title']}")
        print(f"{'':27} licence {row['licence']}")
        print(f"{'':27} {row['where']}; checked by {row['checked_by']}; {row['status']}")
    print("\n`foveate data fetch NAME` brings one to data/NAME, `--to DIR` elsewhere.")
    return 0


def _row(entry: DataSet) -> dict[str, Any]:
    hosts = dict.fromkeys(urlsplit(r.url).hostname for r in entry.remotes if r.url)
    where = ", ".join(filter(None, hosts)) or f"by hand, behind a login: {entry.page}"
    return {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "bytes": entry.about,
        "where": where if entry.tried or not hosts else f"{where} ({UNTRIED})",
        "checked_by": checked_by(entry),
        "status": _status(Path("data", entry.name)),
        "recipe": entry.recipe if entry.recipe in catalog.shipped() else "",
    }


def _status(root: Path) -> str:
    if read_card(root) is not None:
        return f"here, in {root}"
    downloads = root.with_name(root.name + ".download")
    return "begun; the same command goes on" if downloads.is_dir() else "not here"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB" if count else "?"


def _introduce(entry: DataSet, root: Path, aside: bool) -> None:
    """The licence before anything is downloaded, and how sure its address is."""
    row = _row(entry)
    lines = [
        f"{entry.name}: {entry.title}, {_size(entry.about)} to download, to {root}",
        f"licence   {entry.licence}",
        f"cite      {entry.citation}",
        f"from      {row['where']}, described at {entry.page}",
        f"checked   by {row['checked_by']}",
        *(f"note      {note}" for note in entry.notes),
    ]
    print("\n".join(lines), file=sys.stderr if aside else sys.stdout, flush=True)


def _ask(entry: DataSet, yes: bool) -> None:
    """Raises UsageError where the licence is not accepted."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"`foveate data fetch {entry.name} --yes` accepts the licence shown above")
    sys.stderr.write("download it under this licence? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not accepted; nothing was downloaded")


def _facts(entry: DataSet, found: Brought) -> dict[str, Any]:
    return {
        "format": 1,
        "name": entry.name,
        "root": str(found.root),
        "new": found.new,
        "licence": entry.licence,
        "citation": entry.citation,
        "files": {name: vars(hashed) for name, hashed in found.files.items()},
        "trusted_on_first_use": found.first,
        "counts": found.counts,
        "train": _train(entry, found.root),
    }


def _train(entry: DataSet, root: Path) -> str:
    """The command that trains on it; empty where no recipe of this version reads it."""
    if entry.recipe not in catalog.shipped():
        return ""
    return f"foveate train {entry.recipe} --data.root {shlex.quote(str(root))}"


def _tell(entry: DataSet, found: Brought) -> None:
    for pattern, count in found.counts.items():
        print(f"{count:>8,}  {pattern}")
    for name in found.first:
        print(
            f"nobody published a hash of {name}: its sha256 {found.files[name].sha256} is trusted "
            "from now on, and any other file from that address refused"
        )
    print(f"{found.root} {'is complete' if found.new else 'was here already, and is complete'}")
    print(_train(entry, found.root) or "no recipe of this version reads it yet")
