"""The hash record of a data set: which bytes every file had when somebody last looked.

Decoding proves little: of 600 JPEGs with one flipped bit 475 decode to another picture without an
error (of 600 with 512 zeroed bytes 12). Only a hash taken while the file was whole can tell.

    <data root>/foveate.sha256     what `sha256sum -c foveate.sha256` reads, sizes in comments

Where the root is read-only the record lies in the cache, under the hash of the root's path. A list
that `sha256sum` itself wrote is read as well.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..durable import sync
from ..errors import DataError

NAME = "foveate.sha256"
FORMAT = 1
CHANGED = "contents differ from the record"
LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)", re.DOTALL)
SIZE = re.compile(r"# (\d+) bytes")
HEAD = re.compile(r"# foveate record (\d+)\b")
ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}  # as coreutils writes names


class Recorded(NamedTuple):
    """What the record says of one file."""

    sha256: str
    """64 hexadecimal digits."""
    bytes: int
    """Size; -1 where the list does not say."""


def find_record(root: Path, cache: Path | None = None) -> Path | None:
    """Where the record of a data root lies: in it, else in the cache; None where there is none."""
    places = [root / NAME] + ([place_in_cache(root, cache)] if cache else [])
    return next((place for place in places if place.is_file()), None)


def place_in_cache(root: Path, cache: Path) -> Path:
    """Where the record of a root that cannot be written lies."""
    key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
    return cache / "records" / f"{key}.sha256"


def read_record(root: Path, cache: Path | None = None) -> dict[str, Recorded] | None:
    """File name relative to the root -> what was recorded; None where nothing was.

    Raises DataError where the list is damaged or of a newer format: a record that is half read
    would accuse half of the files, or none.
    """
    path = find_record(root, cache)
    return parse_record(path) if path else None


def parse_record(path: Path) -> dict[str, Recorded]:
    """The lines of one record. Raises DataError as `read_record` does."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise DataError(f"record {path} cannot be read: {error.strerror}; mend it") from None
    found: dict[str, Recorded] = {}
    size = -1
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("#") or not line.strip():
            size = _read_comment(line, size, path)
            continue
        match = LINE.fullmatch(line.rstrip("\r"))
        if not match:
            raise DataError(
                f"line {number} of record {path} is no line of sha256sum; "
                "bring the file back, or delete it and record the set again"
            )
        name = _unescape(match[3]) if match[1] else match[3]
        found[name.removeprefix("./")] = Recorded(match[2], size)
        size = -1
    return found


def differs(record: Mapping[str, Recorded] | None, name: str, sha256: bytes) -> str:
    """Why a file is not the recorded one, in words without its name; "" where it is.

    A file that the record does not know is none that differs: it came later. `sha256` is the 32
    bytes of the file's hash, `name` is relative to the root.
    """
    known = record.get(name) if record else None
    return CHANGED if known and known.sha256 != sha256.hex() else ""


def write_record(path: Path, rows: Iterable[tuple[str, bytes, int]], private: bool = False) -> None:
    """Write (name, sha256, bytes) rows, sorted by name, whole or not at all.

    `private`: readable for the owner alone, because names may hold patient ids; in the data root
    they are to be seen anyway. Raises OSError.
    """
    lines = [f"# foveate record {FORMAT}: sha256 of every image; `sha256sum -c {NAME}` checks it"]
    for name, sha256, size in sorted(rows):
        mark, shown = ("\\", _escape(name)) if re.search(r"[\\\n\r]", name) else ("", name)
        lines += [f"# {size} bytes", f"{mark}{sha256.hex()}  {shown}"]
    write_whole(path, "\n".join([*lines, ""]).encode(errors="surrogateescape"), private)


def write_whole(path: Path, data: bytes, private: bool) -> None:
    """Write beside, sync, rename; `private` files have mode 0600 from their first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(beside, path)
        sync(path.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _read_comment(line: str, size: int, path: Path) -> int:
    """The size that a comment gives for the next file. Raises DataError for a newer format."""
    head = HEAD.match(line)
    if head and int(head[1]) > FORMAT:
        raise DataError(f"record {path} is of format {head[1]}; upgrade foveate")
    match = SIZE.fullmatch(line.rstrip("\r"))
    return int(match[1]) if match else size


def _escape(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _unescape(name: str) -> str:
    return re.sub(r"\\[\\nr]", lambda match: ESCAPES[match[0]], name)
