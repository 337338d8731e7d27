"""One file, downloaded so that nothing that happens on the way is lost or believed.

It grows as `<name>.part` beside its place and is renamed when its length and hash are right. The
same call goes on where an earlier one stopped, if the server still has the same file.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, NetworkError, StorageError
from .connection import Answer, Passing, check_url, connect, request
from .entry import Remote
from .extract import Progress
from .part import Hashed, Known, Sink, hash_file

READ_BYTES = 1 << 18
STALL_S, STALL_BYTES = 60.0, 1 << 16
"""A connection that brings less than this in a minute is given up for a new one."""


@dataclass(frozen=True)
class Patience:
    """How long a network is waited for."""

    attempts: int = 6
    """In a row that bring nothing; one that brings bytes starts the count again."""
    wait_s: float = 1.0
    """Before the second attempt; doubled each time."""
    timeout_s: float = 30.0


def download(
    remote: Remote,
    target: Path,
    patience: Patience = Patience(),
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Hashed:
    """Bring `remote` to `target`; one that is there already is only hashed.

    Raises DataError where length or hash are wrong (what came is removed), NetworkError where the
    server stays out of reach or is not to be trusted (what came is kept), StorageError where the
    disk is full.
    """
    if target.exists():
        found = hash_file(target, progress)
        check_file(found, remote, f"{target} is there, but")
        return found
    check_url(remote.url)
    sink = Sink(target.with_name(target.name + ".part"))
    try:
        _fill(sink, remote, patience, progress or (lambda done, total: None), say)
        sink.sync()
    except DataError:
        sink.discard()
        raise
    finally:
        with contextlib.suppress(OSError):
            sink.file.close()
    found = sink.found()
    try:
        check_file(found, remote, "the downloaded file")
    except DataError:
        sink.discard()
        raise
    sink.path.rename(target)
    sink.note.unlink(missing_ok=True)
    return found


def check_file(found: Hashed, remote: Remote, what: str) -> None:
    """Raises DataError where it is not the file that the catalogue describes."""
    for fact in ("bytes", "sha256", "md5"):
        wanted, got = getattr(remote, fact), getattr(found, fact)
        if wanted and wanted != got:
            raise DataError(
                f"{what} is not {remote.name}: {fact} is {got} and should be {wanted}; "
                "remove it where it is yours, and give the same command again"
            )
    if remote.cap and found.bytes > remote.cap:
        raise DataError(
            f"{what} has {found.bytes:,} bytes; {remote.name} has at most {remote.cap:,}"
        )


def _fill(
    sink: Sink,
    remote: Remote,
    patience: Patience,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    opener, failed, most = connect(), 0, sink.bytes
    while True:
        try:
            if _attempt(opener, sink, remote, patience, progress):
                return
            trouble = Passing("the connection ended early")
        except Passing as error:
            trouble = error
        failed = 1 if sink.bytes > most else failed + 1
        most = max(most, sink.bytes)
        if failed >= patience.attempts:
            raise NetworkError(
                f"{trouble}; given up after {failed} attempts, {sink.bytes:,} bytes are kept: the "
                "same command goes on"
            )
        wait = max(patience.wait_s * 2 ** (failed - 1), trouble.wait_s) * random.uniform(1, 1.25)
        say(f"{trouble}; again in {wait:.0f} s, from byte {sink.bytes:,}")
        time.sleep(wait)


def _attempt(
    opener: urllib.request.OpenerDirector,
    sink: Sink,
    remote: Remote,
    patience: Patience,
    progress: Progress,
) -> bool:
    """One request; True once the file is whole."""
    answer = request(opener, remote.url, _resume(sink, remote), patience.timeout_s)
    with contextlib.closing(answer.body):
        total = _place(answer, sink, remote)
        if total is not None and sink.bytes == total:
            return True
        _check_room(sink.path, (total or remote.about) - sink.bytes)
        ended = _copy(answer, sink, remote, total, progress)
    return ended and (total is None or sink.bytes == total)


def _resume(sink: Sink, remote: Remote) -> dict[str, str]:
    """The headers that ask for the rest, where it can be known that it is the rest of this."""
    known = sink.known
    sure = known.mark or remote.sha256 or remote.md5
    if not sink.bytes or known.url != remote.url or not sure:
        return {}
    asked = {"Range": f"bytes={sink.bytes}-"}
    return asked | ({"If-Range": known.mark} if known.mark else {})


def _place(answer: Answer, sink: Sink, remote: Remote) -> int | None:
    """Make the part fit the answer; gives the length of the whole file, None if nobody says."""
    if answer.status == 206:
        start, total = _read_range(answer.headers.get("Content-Range", ""))
        fits = -1 in (sink.known.total, total or -1) or total == sink.known.total
        if start == sink.bytes and fits and _same(answer, sink.known):
            return total
    elif answer.status == 416:
        _, total = _read_range(answer.headers.get("Content-Range", ""))
        if total is not None and total == sink.bytes:
            return total
    else:
        known = _describe(answer, remote.url)
        _check_length(known.total, remote)
        sink.restart(known)
        return known.total if known.total >= 0 else None
    sink.restart(Known())
    raise Passing("the server's file is another one now, or it sent another part: starting over")


def _same(answer: Answer, known: Known) -> bool:
    """Whether a part is of the file that was begun: a server may not know If-Range."""
    etag = answer.headers.get("ETag", "")
    return not known.etag or not etag or etag == known.etag


def _describe(answer: Answer, url: str) -> Known:
    etag = answer.headers.get("ETag", "")
    length = answer.headers.get("Content-Length", "")
    return Known(
        url,
        "" if etag.startswith("W/") else etag,
        answer.headers.get("Last-Modified", ""),
        int(length) if length.isdigit() else -1,
    )


def _check_length(total: int, remote: Remote) -> None:
    if total >= 0 and remote.bytes and total != remote.bytes:
        raise DataError(
            f"the server's {remote.name} has {total:,} bytes and should have {remote.bytes:,}"
        )
    if remote.cap and total > remote.cap:
        raise DataError(f"the server's {remote.name} has {total:,} bytes, {remote.cap:,} at most")


def _read_range(text: str) -> tuple[int, int | None]:
    """`bytes 7-99/100` -> (7, 100); `bytes */100` -> (-1, 100)."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text)
    if not found:
        return -1, None
    return int(found[1] or -1), None if found[2] == "*" else int(found[2])


def _copy(
    answer: Answer, sink: Sink, remote: Remote, total: int | None, progress: Progress
) -> bool:
    """Read to the end of the answer; False where it broke off."""
    since, mark = time.monotonic(), sink.bytes
    while True:
        try:
            data = answer.body.read1(READ_BYTES)  # type: ignore[union-attr]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Passing(f"the connection broke ({type(error).__name__})") from None
        if not data:
            return True
        if sink.bytes + len(data) > (remote.bytes or remote.cap or sink.bytes + len(data)):
            raise DataError(f"the server sends more than {remote.name} has")
        sink.write(data)
        progress(sink.bytes, total or 0)
        if time.monotonic() - since > STALL_S:
            if sink.bytes - mark < STALL_BYTES:
                raise Passing("the connection has come to a standstill")
            since, mark = time.monotonic(), sink.bytes


def _check_room(path: Path, needed: int) -> None:
    free = os.statvfs(path.parent)
    room = free.f_bavail * free.f_frsize
    if needed > room:
        raise StorageError(
            f"{path.parent} has {room / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are still to "
            "come; free space, or name another folder with --to"
        )
