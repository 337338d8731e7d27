"""A whole data set: downloaded, unpacked, rearranged, counted, and only then put in its place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import DataError, StorageError
from .download import Patience, check_file, download
from .entry import DataSet, Remote
from .extract import Limits, Progress, extract
from .part import Hashed, hash_file
from .trust import Ledger

CARD = ".foveate-fetch.json"
"""What lies in a data folder that came whole: names, hashes, counts. Listings pass over it."""
FORMAT, MB = 1, 10**6


class Reporter(Protocol):
    """Where it is said how far things are."""

    def stage(self, text: str) -> AbstractContextManager[Progress]:
        """A context; calling what it gives with (done, total) shows how far the stage is."""

    def say(self, text: str) -> None:
        """One line that matters."""


@dataclass
class Brought:
    """A data set in its place."""

    root: Path
    new: bool
    """False where it was there already and has been counted again."""
    files: dict[str, Hashed] = field(default_factory=dict)
    """What was downloaded, by name."""
    first: list[str] = field(default_factory=list)
    """Names of those whose hash nobody published, and that came for the first time."""
    counts: dict[str, int] = field(default_factory=dict)


def bring(
    entry: DataSet,
    root: Path,
    ledger: Ledger,
    reporter: Reporter,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> Brought:
    """Bring `entry` to the folder `root`, or count what an earlier call brought.

    `<root>.download` holds what is on its way; the same call goes on after any end. Raises
    DataError where hashes, contents or counts are wrong or a person has to act first, NetworkError
    and StorageError as `download` does.
    """
    if read_card(root) is not None:  # before anything is written: the place may be read-only
        return Brought(root, False, counts=check_counts(entry, root))
    with _alone(_downloads(root)):
        if read_card(root) is not None:
            return Brought(root, False, counts=check_counts(entry, root))
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root} is not empty and did not come from here; name another by --to")
        found = {
            remote.name: _bring_file(remote, entry, root, ledger, reporter, patience)
            for remote in entry.remotes
        }
        return _put_together(entry, root, ledger, reporter, found)


def _downloads(root: Path) -> Path:
    return root.with_name(root.name + ".download")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder; an empty one is removed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another process is at work in {folder}; wait for it") from None
        try:
            yield
        finally:
            if [path.name for path in folder.iterdir()] == ["lock"]:
                shutil.rmtree(folder)


def read_card(root: Path) -> dict[str, Any] | None:
    """What an earlier call wrote down in `root`; None where none finished there.

    Raises StorageError where it is damaged or of a newer foveate.
    """
    try:
        card: dict[str, Any] = json.loads((root / CARD).read_text())
        if card["format"] > FORMAT:
            raise StorageError(f"{root / CARD} is of a newer foveate; upgrade")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{root / CARD} is damaged; remove the folder and fetch again") from None
    return card


def _bring_file(
    remote: Remote,
    entry: DataSet,
    root: Path,
    ledger: Ledger,
    reporter: Reporter,
    patience: Patience,
) -> Hashed:
    target = _downloads(root) / remote.name
    if not remote.url and not target.exists():
        raise DataError(f"{entry.name} is behind a login: {entry.manual.format(file=target)}")
    doing = "hashing" if target.exists() else "downloading"
    with reporter.stage(f"{doing} {remote.name}, MB") as on:
        if not remote.url:
            found = hash_file(target, _in_mb(on))
            check_file(found, remote, str(target))
        else:
            found = download(remote, target, patience, _in_mb(on), reporter.say)
    try:
        ledger.check(remote, found)
    except DataError:
        target.unlink()
        raise
    return found


def _in_mb(on: Progress) -> Progress:
    return lambda done, total: on(done // MB, max(total, done) // MB)


def _put_together(
    entry: DataSet, root: Path, ledger: Ledger, reporter: Reporter, found: dict[str, Hashed]
) -> Brought:
    """From files to the data folder: whole or not at all."""
    downloads = _downloads(root)
    whole = downloads / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    try:
        for remote in entry.remotes:
            _place(remote, downloads, whole, reporter)
        counts = check_counts(entry, whole)
    except BaseException as error:
        shutil.rmtree(whole, ignore_errors=True)
        if isinstance(error, DataError):
            raise DataError(f"{error}; remove {downloads} to download it again") from None
        raise
    open_to_trust = [r for r in entry.remotes if r.url and not (r.sha256 or r.md5 or entry.content)]
    first = [r.name for r in open_to_trust if ledger.remember(r, found[r.name])]
    _write_card(entry, whole, found, counts)
    if root.exists():
        root.rmdir()  # it is empty
    whole.rename(root)
    for remote in entry.remotes:
        if remote.url:  # what a person brought stays
            (downloads / remote.name).unlink()
    return Brought(root, True, found, first, counts)


def _place(remote: Remote, downloads: Path, whole: Path, reporter: Reporter) -> None:
    """Put one file, or what is in it, where it belongs."""
    source, goal = downloads / remote.name, whole / remote.into
    if not remote.packed:
        goal.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, goal / remote.name)
        except OSError:  # a file system without links
            shutil.copyfile(source, goal / remote.name)
        (goal / remote.name).chmod(0o644)
        return
    _check_room(source)
    with reporter.stage(f"unpacking {remote.name}, files") as on:
        unpacked = downloads / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        extract(source, unpacked, Limits(remote.unpacked), on)
    try:
        _merge(find_anchor(unpacked, remote.anchor), goal)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _check_room(archive: Path) -> None:
    """Images hardly shrink: what comes out is at least what went in."""
    free, size = shutil.disk_usage(archive.parent).free, archive.stat().st_size
    if free < size:
        raise StorageError(
            f"{archive.parent} has {free / 1e9:.1f} GB free and unpacking takes {size / 1e9:.1f} "
            "or more; free space and give the same command again"
        )


def find_anchor(folder: Path, anchor: tuple[str, ...]) -> Path:
    """The folder of `folder`, or itself, in which all of `anchor` lie; the only one.

    Raises DataError where there is none, or are several.
    """
    if not anchor:
        return folder
    places = [Path(where) for where, names, _ in os.walk(folder) if set(anchor) <= set(names)]
    if len(places) != 1:
        what = "has no place" if not places else f"has {len(places)} places"
        raise DataError(f"the archive {what} with the folders {', '.join(anchor)} side by side")
    return places[0]


def _merge(source: Path, goal: Path) -> None:
    goal.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if (goal / path.name).exists():
            raise DataError(f"two archives hold files of one name for {goal}")
        path.rename(goal / path.name)


def check_counts(entry: DataSet, root: Path) -> dict[str, int]:
    """Files by pattern. Raises DataError where a count, or the contents, are not as published."""
    counts = {c.pattern: sum(p.is_file() for p in root.glob(c.pattern)) for c in entry.counts}
    wrong = [
        f"{counts[c.pattern]:,} files {c.pattern} for {c.files:,}"
        for c in entry.counts
        if counts[c.pattern] != c.files
    ]
    if wrong:
        raise DataError(f"{entry.name} is not what was published: {'; '.join(wrong)}")
    if entry.content and hash_tree(root) != entry.content:
        raise DataError(f"{entry.name} has the right number of files and wrong bytes in some")
    return counts


def hash_tree(root: Path) -> str:
    """sha256 over "<sha256>  <name>" and a newline for each file, sorted by name; no dot files."""
    digest = hashlib.sha256()
    files = [path for path in root.rglob("*") if path.is_file() and path.name[0] != "."]
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        own = hash_file(path).sha256
        digest.update(f"{own}  {path.relative_to(root).as_posix()}\n".encode())
    return digest.hexdigest()


def _write_card(
    entry: DataSet, root: Path, found: dict[str, Hashed], counts: dict[str, int]
) -> None:
    card = {
        "format": FORMAT,
        "name": entry.name,
        "licence": entry.licence,
        "citation": entry.citation,
        "files": {
            r.name: {"url": r.url, "bytes": found[r.name].bytes, "sha256": found[r.name].sha256}
            for r in entry.remotes
        },
        "counts": counts,
    }
    (root / CARD).write_text(json.dumps(card, indent=1) + "\n")
