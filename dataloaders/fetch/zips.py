"""Reading a zip without believing it: both of its lists have to say the same of every entry.

`zipfile` finds the entries; before Python 3.11.8 it does not see that they overlap (CVE-2024-0450)
and it cuts an entry silently where it is longer than it says, so the bytes are read here.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import DataError
from .expand import RATIO, RATIO_FROM, Expanded, Part, deflate
from .tars import Member

LIST_BYTES = 256 << 20
"""At which the list of entries is refused: 1.5 million names of 100 letters."""
ENCRYPTED, LATER = 0x2041, 0x0008
"""Flag bits: encrypted in one of three ways; sizes stand after the data."""
STORED, DEFLATED = 0, 8


class _Checked:
    """An entry's bytes. At their end the checksum is compared; who reads them counts them."""

    def __init__(self, file: BinaryIO, entry: zipfile.ZipInfo) -> None:
        self._packed = Part(file, entry.compress_size)
        self._expanded = (
            Expanded(self._packed, deflate, several=False)
            if entry.compress_type == DEFLATED
            else None
        )
        self._entry, self._sum = entry, 0

    def read(self, size: int) -> bytes:
        data = (self._expanded or self._packed).read(size)
        self._sum = zlib.crc32(data, self._sum)
        if not data and size:
            self._finish()
        return data

    def _finish(self) -> None:
        if self._packed.left or (self._expanded and self._expanded.spare):
            raise DataError("an entry of the archive has bytes after its end")
        if self._sum != self._entry.CRC:
            raise DataError("an entry of the archive is damaged (its checksum is wrong)")


def read_zip(file: BinaryIO) -> Iterator[Member]:
    """The members, in the order of their bytes. All headers are checked before the first.

    Raises DataError for links and devices, encrypted or overlapping entries, packings other than
    stored and deflated, lists that disagree, and entries that are not what they say they are.
    """
    entries, end = _list(file)
    starts = [_check_local(file, entry) for entry in entries]
    ends = [start + entry.compress_size for start, entry in zip(starts, entries, strict=True)]
    following = [entry.header_offset for entry in entries[1:]]
    if any(e > f for e, f in zip(ends, [*following, end], strict=bool(ends))):
        raise DataError("entries of the archive overlap: a bomb")
    for entry, start in zip(entries, starts, strict=True):
        file.seek(start)
        folder = entry.orig_filename.endswith("/")
        yield Member(entry.orig_filename, entry.file_size, folder, _Checked(file, entry))


def _list(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int]:
    """The entries in the order of their bytes, and where the list of them begins."""
    try:
        _check_list_size(file)
        with zipfile.ZipFile(file) as archive:
            entries, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, ValueError, struct.error, EOFError, NotImplementedError) as error:
        raise DataError(f"the archive is damaged or no zip ({str(error)[:100]})") from None
    for entry in entries:
        _check_entry(entry)
    return sorted(entries, key=lambda entry: entry.header_offset), end


def _check_list_size(file: BinaryIO) -> None:
    """Before zipfile reads the list into memory."""
    length = file.seek(0, 2)
    file.seek(max(0, length - 65_557 - 20))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + 22 > len(tail):
        raise DataError("the archive is cut off, or is no zip")
    size = int.from_bytes(tail[place + 12 : place + 16], "little")
    if size == 0xFFFFFFFF and tail[max(place - 20, 0) : place].startswith(b"PK\6\7"):
        at = int.from_bytes(tail[place - 12 : place - 4], "little")
        file.seek(min(at, length))
        size = int.from_bytes(file.read(56)[40:48], "little")
    if size > LIST_BYTES:
        raise DataError(f"the archive has a list of entries of more than {LIST_BYTES} bytes")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError("the archive holds a link, a device or a pipe")
    if entry.flag_bits & ENCRYPTED:
        raise DataError("the archive is encrypted")
    if entry.compress_type not in (STORED, DEFLATED):
        raise DataError(f"the archive uses packing {entry.compress_type}; 0 and 8 are read")
    folder = entry.orig_filename.endswith("/")
    if (folder and entry.file_size) or (folder != (kind == stat.S_IFDIR) and kind):
        raise DataError("the archive holds a folder with contents, or a file that says folder")
    if entry.file_size > max(RATIO_FROM, RATIO * entry.compress_size):
        raise DataError(f"the archive expands to more than {RATIO} times its size: a bomb")


def _check_local(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where the entry's bytes begin; its own header has to agree with the list."""
    file.seek(max(entry.header_offset, 0))
    head = file.read(30) if entry.header_offset >= 0 else b""
    if len(head) < 30 or head[:4] != b"PK\3\4":
        raise DataError("the archive lists an entry that is not there")
    _, flags, packing, _, _, crc, packed, size, name, extra = struct.unpack("<HHHHHIIIHH", head[4:])
    spelt = file.read(name)
    wide = entry.flag_bits & 0x800
    told = entry.orig_filename.encode("utf-8" if wide else "cp437", "replace")
    sizes = (crc, packed, size), (entry.CRC, entry.compress_size, entry.file_size)
    agree = flags & LATER or all(a in (b, 0xFFFFFFFF) for a, b in zip(*sizes, strict=True))
    if spelt != told or packing != entry.compress_type or not agree or flags & ENCRYPTED:
        raise DataError("the archive's list and its entries disagree: programs read it differently")
    return entry.header_offset + 30 + name + extra
