"""A file on its way: what is on disk of it, its hashes so far, and what the server said of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError
from .extract import AGAIN, Progress

SYNC_BYTES = 64 << 20


@dataclass
class Hashed:
    """Length and hashes of a file."""

    bytes: int
    sha256: str
    md5: str


@dataclass
class Known:
    """What the server said of the file that the part is of."""

    url: str = ""
    etag: str = ""
    changed: str = ""
    total: int = -1

    @property
    def mark(self) -> str:
        """What If-Range takes: a strong ETag, or a date."""
        return self.etag or self.changed


class Sink:
    """The part on disk, and the hashes of what is in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.note = path, path.with_name(path.name + ".json")
        self.known = read_known(self.note)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self.file: BinaryIO = open(number, "r+b")  # noqa: SIM115 - until the download ends
        self.hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.bytes = self._synced = 0
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.close()
            raise StorageError(f"another process is downloading {path}; wait for it") from None
        while data := self.file.read(1 << 20):
            self._count(data)

    def _count(self, data: bytes) -> None:
        self.bytes += len(data)
        for digest in self.hashes:
            digest.update(data)

    def write(self, data: bytes) -> None:
        """Append. Raises StorageError where the disk is full."""
        try:
            self.file.write(data)
            self._count(data)
            if self.bytes - self._synced >= SYNC_BYTES:
                self.sync()
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}; {AGAIN}") from None

    def sync(self) -> None:
        """Bring it to the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._synced = self.bytes

    def restart(self, known: Known) -> None:
        """Empty it, and write down what is about to be in it."""
        self.file.seek(0)
        self.file.truncate()
        self.hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.bytes = self._synced = 0
        self.known = known
        self.note.write_text(json.dumps(asdict(known)))

    def found(self) -> Hashed:
        """Length and hashes so far."""
        sha256, md5 = self.hashes
        return Hashed(self.bytes, sha256.hexdigest(), md5.hexdigest())

    def discard(self) -> None:
        """Remove it."""
        self.file.close()
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def hash_file(path: Path, progress: Progress | None = None) -> Hashed:
    """Length, sha256 and MD5 of a file."""
    hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size, done = path.stat().st_size, 0
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            done += len(data)
            for digest in hashes:
                digest.update(data)
            if progress:
                progress(done, size)
    return Hashed(done, hashes[0].hexdigest(), hashes[1].hexdigest())


def read_known(note: Path) -> Known:
    """What was written down beside a part; nothing where that is lost or damaged."""
    try:
        return Known(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return Known()
