"""The packs of a cache: what lies there, what it takes, and how to be rid of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError, StorageError
from .build import alone
from .layout import FORMAT, find_damage, open_pack

UNFINISHED = ".building"


@dataclass(frozen=True)
class Shelved:
    """One folder of a cache's packs."""

    name: str
    state: str
    """whole, unfinished (the next run goes on with it), being built, or of another format."""
    bytes: int
    images: int
    side: int
    source: str
    """The folder that its images came from, as it was called then."""
    built: float
    """Seconds since 1970."""


def list_packs(cache: Path) -> list[Shelved]:
    """Every pack in a cache, finished or not, the oldest first. Reads no pixel."""
    shelf = cache / "packs"
    try:
        folders = [path for path in shelf.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot list {shelf}: {error.strerror}; mend its permissions") from None
    found = []
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):  # renamed or removed while we look
            found.append(_look(folder))
    return sorted(found, key=lambda pack: pack.built)


def remove_pack(cache: Path, name: str) -> int:
    """Delete a pack, finished or not, by its name or the beginning of it; returns its bytes.

    Raises DataError where no pack or several have that name, StorageError where it is being
    built or cannot be deleted. A run that has it open goes on: the system keeps the pixels.
    """
    found = _find(cache, name)
    folder = cache / "packs" / found.name
    if found.state == "being built":
        raise StorageError(f"pack {found.name} is being built by a running process; end that first")
    try:
        with alone(folder.with_name(found.name.removesuffix(UNFINISHED))):
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"cannot remove {folder}: {error.strerror}; delete it by hand") from None
    return found.bytes


def check_pack(cache: Path, name: str) -> tuple[Shelved, int]:
    """(the pack, how many of its images are damaged), every stored pixel read."""
    found = _find(cache, name)
    pack = open_pack(cache / "packs" / found.name, samples=0)
    return found, len(find_damage(pack, range(len(pack.start))))


def _find(cache: Path, name: str) -> Shelved:
    packs = list_packs(cache)
    matches = [p for p in packs if p.name == name] or [p for p in packs if p.name.startswith(name)]
    if len(matches) != 1 or not name:
        wrong = "is the beginning of several" if matches else "names none"
        there = ", ".join(p.name for p in packs) or "none"
        raise DataError(f"'{name}' {wrong} of the packs in {cache / 'packs'}: {there}")
    return matches[0]


def _look(folder: Path) -> Shelved:
    try:
        facts = json.loads((folder / "pack.json").read_text())
        images = len(np.load(folder / "sha256.npy", mmap_mode="r"))
        built = (folder / "pack.json").stat().st_mtime
        state = "whole" if facts["format"] == FORMAT else f"format {facts['format']}"
    except (OSError, ValueError, KeyError, TypeError):
        facts, images, built = {}, 0, folder.stat().st_mtime
        state = "being built" if _is_locked(folder) else "unfinished"
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    side, source = int(facts.get("side", 0)), str(facts.get("source", ""))
    return Shelved(folder.name, state, size, images, side, source, built)


def _is_locked(folder: Path) -> bool:
    """Whether a living process builds it."""
    lock = folder.with_name(folder.name.removesuffix(UNFINISHED) + ".lock")
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def describe_packs(packs: list[Shelved]) -> str:
    """A line each, for a person."""
    lines = []
    for pack in packs:
        day = time.strftime("%Y-%m-%d", time.localtime(pack.built))
        stored = f"{pack.side} px" if pack.side else "full size"
        what = f"{pack.images:>9,} images {stored:>9}" if pack.images else " " * 26
        size = f"{pack.bytes / 1e9:8.2f} GB"
        place = os.path.basename(pack.source)
        lines.append(f"{pack.name:42} {day}  {size} {what}  {pack.state:10}  {place}".rstrip())
    total = sum(pack.bytes for pack in packs)
    return "\n".join([*lines, f"{len(packs)} packs, {total / 1e9:.2f} GB"])
