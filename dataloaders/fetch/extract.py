"""Unpacking what came from the internet: regular files, below one folder, whole or not at all.

Nothing of an archive is believed but its bytes: no links, devices or pipes, no name that leaves
the folder or that some file system takes for another, no permissions, owners or times, and no
more files and bytes than the catalogue says there can be.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError, StorageError
from .expand import CHUNK, KINDS, open_tar
from .names import Taken, check_name, is_litter
from .tars import Member, read_tar
from .zips import read_zip

Progress = Callable[[int, int], None]
FILE_MODE, FOLDER_MODE = 0o644, 0o755
MAX_FILES = 1_000_000
AGAIN = "free space or mend the disk, and give the same command again"


@dataclass(frozen=True)
class Limits:
    """What an archive may expand to."""

    bytes: int
    files: int = MAX_FILES


@dataclass
class Unpacked:
    """What came of an archive."""

    files: int = 0
    bytes: int = 0
    litter: int = 0
    """Files that a desktop left in it (`.DS_Store`, `._x`); not unpacked."""


def extract(archive: Path, to: Path, limits: Limits, progress: Progress | None = None) -> Unpacked:
    """Unpack a .zip, .tar, .tar.gz, .tgz, .tar.xz or .tar.bz2 into `to`, a folder not there yet.

    It is written beside as `<to>.extracting`, synced and renamed; what a killed one left is
    removed first. Raises DataError for an archive that is hostile or damaged, StorageError where
    the disk is full.
    """
    work = to.with_name(to.name + ".extracting")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(FOLDER_MODE)
        with open(archive, "rb") as file:
            done = _write_all(_members(file, archive.name), work, limits, progress or _silent)
        os.sync()  # one for all: a hundred thousand files would each cost a millisecond
        work.rename(to)
    except OSError as error:
        raise StorageError(f"cannot unpack into {to.parent}: {error.strerror}; {AGAIN}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done


def _silent(done: int, total: int) -> None:
    pass


def _members(file: BinaryIO, name: str) -> Iterator[Member]:
    if name.lower().endswith(".zip"):
        return read_zip(file)
    if name.lower().endswith((".tar", *KINDS)):
        return read_tar(open_tar(file, name))
    raise DataError(f"{name} is no archive by its name; .zip, .tar, {', '.join(KINDS)} are read")


def _write_all(
    members: Iterator[Member], root: Path, limits: Limits, progress: Progress
) -> Unpacked:
    taken, done = Taken(), Unpacked()
    for seen, member in enumerate(members, 1):
        done.bytes += member.size
        if seen > limits.files or done.bytes > limits.bytes:
            raise DataError(
                f"the archive holds more than {limits.files:,} entries or {limits.bytes:,} bytes"
            )
        parts = check_name(member.name)
        taken.add(parts, member.folder)
        if is_litter(parts):
            done.litter += not member.folder
        elif member.folder:
            _make_folders(root, parts)
        elif parts:
            _write(member, _make_folders(root, parts[:-1]) / parts[-1])
            done.files += 1
        else:
            raise DataError("the archive holds a file without a name")
        progress(done.files, done.files)
    return done


def _make_folders(root: Path, parts: tuple[str, ...]) -> Path:
    """Only folders of our own are below `root`: there is no link to follow."""
    folder = root
    for part in parts:
        folder = folder / part
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(FOLDER_MODE)
    return folder


def _write(member: Member, path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    written = 0
    with open(os.open(path, flags, 0o600), "wb") as file:
        while data := member.source.read(CHUNK):
            written += len(data)
            if written > member.size:
                raise DataError("an entry of the archive is longer than it says")
            file.write(data)
        os.fchmod(file.fileno(), FILE_MODE)
    if written != member.size:
        raise DataError("an entry of the archive is shorter than it says")
