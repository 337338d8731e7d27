"""Streams of expanded bytes, with limits: nothing is expanded further than it is read."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from ..errors import DataError

CHUNK = 1 << 18
RATIO, RATIO_FROM = 200, 1 << 20
"""Expanded bytes to a packed byte, looked at once there is a MiB: images hardly shrink."""
LZMA_MEMORY = 128 << 20
"""Bytes: `xz -9` needs 65 MiB; the format allows 4 GiB."""
DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


class Reader(Protocol):
    """Anything that gives up to `size` bytes, and b"" at its end."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""


class Part:
    """The next `size` bytes of a stream; raises DataError where the stream has fewer."""

    def __init__(self, source: Reader, size: int) -> None:
        self._source, self.left = source, size

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" after the last."""
        data = self._source.read(min(size, self.left))
        if not data and self.left and size:
            raise DataError("the archive is cut off")
        self.left -= len(data)
        return data


class _Deflated:
    """zlib with the face of bz2 and lzma: it keeps what it was given and has not used."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, limit)


def _gzip() -> Any:
    return _Deflated(31)


def deflate() -> Any:
    """What a zip uses: no header, no checksum of its own."""
    return _Deflated(-15)


def _xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)


KINDS: dict[str, Callable[[], Any]] = {
    ".tar.gz": _gzip,
    ".tgz": _gzip,
    ".tar.xz": _xz,
    ".tar.bz2": bz2.BZ2Decompressor,
}


class Expanded:
    """What a packed stream expands to. `several`: gzip, xz and bzip2 may be members in a row.

    `read` raises DataError where the stream is damaged, is cut off, or expands more than `RATIO`
    times.
    """

    def __init__(self, source: Reader, kind: Callable[[], Any], several: bool = True) -> None:
        self._source, self._kind, self._several = source, kind, several
        self._codec, self._waiting = kind(), b""
        self.taken = self.given = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        try:
            data = self._next(size)
        except DAMAGED as error:
            said = " ".join(str(error).split())
            raise DataError(f"the archive is damaged ({said[:100]})") from None
        self.given += len(data)
        if self.given > max(RATIO_FROM, RATIO * self.taken):
            raise DataError(f"the archive expands to more than {RATIO} times its size: a bomb")
        return data

    def _next(self, size: int) -> bytes:
        while size:
            if self._codec.eof and not self._begin_next():
                return b""
            need = self._codec.needs_input and not self._codec.eof
            fed = self._feed() if need else b""
            data: bytes = self._codec.decompress(fed, size)
            if data:
                return data
            if need and not fed and not self._codec.eof:
                raise DataError("the archive is cut off")
        return b""

    def _feed(self) -> bytes:
        data, self._waiting = self._waiting, b""
        if not data:
            data = self._source.read(CHUNK)
            self.taken += len(data)
        return data

    def _begin_next(self) -> bool:
        """Start the next member; False at the end of the stream. Zeros between are padding."""
        if not self._several:
            return False
        rest = self._codec.unused_data.lstrip(b"\0")
        while not rest:
            if not (fed := self._feed()):
                return False
            rest = fed.lstrip(b"\0")
        self._codec, self._waiting = self._kind(), rest
        return True

    @property
    def spare(self) -> bytes:
        """What was given to the codec after its end."""
        spare: bytes = self._codec.unused_data
        return spare


def open_tar(file: BinaryIO, name: str) -> Reader:
    """The bytes of a tar, expanded as its name says."""
    for ending, kind in KINDS.items():
        if name.lower().endswith(ending):
            return Expanded(file, kind)
    return file


def read_whole(source: Reader, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the stream."""
    parts: list[bytes] = []
    while size and (data := source.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
