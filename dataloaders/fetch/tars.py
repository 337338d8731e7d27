"""Reading a tar without believing it: regular files and folders, each seen once, in order.

Not `tarfile`: before Python 3.11.14 a crafted header makes it hang (CVE-2025-8194), and its
`filter="data"` can be stepped around before 3.11.13 (CVE-2025-4517, -4330, -4138).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DataError
from .expand import CHUNK, Part, Reader, read_whole

BLOCK = 512
HEADER_BYTES = 1 << 20
"""At which a pax header or a long name is refused."""
FORBIDDEN = {
    **{"1": "a hard link", "2": "a symbolic link", "3": "a device", "4": "a device"},
    **{"6": "a named pipe", "S": "a sparse file", "K": "a link"},
}


@dataclass
class Member:
    """A file or folder of an archive, and where to read it, before the next one is asked for."""

    name: str
    size: int
    folder: bool
    source: Reader


@dataclass
class _Header:
    name: str
    size: int
    kind: str


def read_tar(source: Reader) -> Iterator[Member]:
    """The members in order. What one leaves unread is passed over.

    Raises DataError for links, devices, pipes, sparse files, unknown kinds, wrong checksums,
    negative or missing sizes, and anything but zeros after the end.
    """
    own: dict[str, str] = {}
    while (header := _read_header(source)) is not None:
        body = Part(source, header.size)
        if header.kind in "xL":
            own |= _read_extension(header, body)
        elif header.kind == "g":
            _refuse_sparse(_parse_pax(_small(header, body)))  # nothing else in it matters here
        else:
            header, own = _settle(header, own), {}
            body = Part(source, header.size)
            yield Member(header.name, header.size, header.kind == "5", body)
        _skip(body)
        _skip(Part(source, -header.size % BLOCK))
    if own:
        raise DataError("the archive is cut off")
    while data := source.read(CHUNK):
        if data.strip(b"\0"):
            raise DataError("the archive goes on after its end: programs would disagree about it")


def _settle(header: _Header, own: dict[str, str]) -> _Header:
    """The header of a file (kind 0) or folder (kind 5), with what stood before it."""
    if header.kind not in ("0", "\0", "5"):
        raise DataError(f"the archive holds {FORBIDDEN.get(header.kind, 'an unknown entry')}")
    size = _decimal(own["size"]) if "size" in own else header.size
    name = own.get("path", header.name)
    folder = header.kind == "5" or name.endswith("/")
    if folder and size:
        raise DataError("the archive holds a folder with contents of its own")
    return _Header(name, size, "5" if folder else "0")


def _read_header(source: Reader) -> _Header | None:
    block = read_whole(source, BLOCK)
    if block == bytes(BLOCK):
        return None
    if len(block) < BLOCK:
        raise DataError("the archive is cut off, or is no tar")
    told = _number(block[148:156])
    if told != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise DataError("a header of the archive has a wrong checksum, or it is no tar")
    name = _text(block[0:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    return _Header(name, _number(block[124:136]), chr(block[156]))


def _number(field: bytes) -> int:
    """Octal digits, or a big-endian number with its first bit set. Never negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise DataError("the archive holds a size or checksum that is no number")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise DataError("the archive holds a size that is no number")
    return int(text)


def _text(field: bytes) -> str:
    try:
        return field.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise DataError("the archive holds a name that is not UTF-8") from None


def _read_extension(header: _Header, body: Part) -> dict[str, str]:
    """What a pax header or a GNU long name says of the next member."""
    data = _small(header, body)
    if header.kind == "L":
        return {"path": _text(data)}
    found = _parse_pax(data)
    _refuse_sparse(found)
    return {key: found[key] for key in ("path", "size") if key in found}


def _small(header: _Header, body: Part) -> bytes:
    if header.size > HEADER_BYTES:
        raise DataError(f"the archive holds a header of more than {HEADER_BYTES} bytes")
    return read_whole(body, header.size)


def _parse_pax(data: bytes) -> dict[str, str]:
    """`30 path=some/where` and a newline, any number of times. NUL in a path stays in it."""
    found: dict[str, str] = {}
    place = 0
    while place < len(data):
        digits, space, _ = data[place : place + 9].partition(b" ")
        end = place + int(digits) if space and digits.isdigit() else 0
        key, equals, value = data[place + len(digits) + 1 : max(end - 1, 0)].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise DataError("the archive holds a damaged pax header")
        place = end
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse"):
            try:
                found[key.decode()] = value.decode()
            except UnicodeDecodeError:
                raise DataError("the archive holds a name that is not UTF-8") from None
    return found


def _refuse_sparse(found: dict[str, str]) -> None:
    if any(key.startswith("GNU.sparse") for key in found):
        raise DataError("the archive holds a sparse file")


def _skip(part: Part) -> None:
    while part.left:
        part.read(CHUNK)
