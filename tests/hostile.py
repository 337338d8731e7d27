"""Archives made by hand, byte by byte where no library would make them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

Entry = tuple[str, bytes]


def make_zip(*entries: Entry, mode: int = 0, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the entries; `mode` is the Unix mode of each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = packing
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return file.getvalue()


def make_wide_zip(*entries: Entry) -> bytes:
    """A zip with 64-bit sizes, written as a stream: the sizes stand after the data."""
    file = io.BytesIO()
    unseekable = type("Pipe", (), {"write": file.write, "flush": file.flush})()
    with zipfile.ZipFile(unseekable, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    return file.getvalue()


def make_tar(*entries: Entry | tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of the entries, whatever they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for entry in entries:
            info, data = (entry, b"") if isinstance(entry, tarfile.TarInfo) else (None, entry[1])
            if info is None:
                info = tarfile.TarInfo(entry[0])
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """A member that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def header(name: str = "a", size: bytes = b"%011o\0" % 0, kind: bytes = b"0") -> bytes:
    """A tar header with a right checksum, and any bytes for its size."""
    block = bytearray(512)
    block[0 : len(name)] = name.encode()
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(text: bytes) -> bytes:
    """A pax header with this text, and the regular file that it is about."""
    padded = text + bytes(-len(text) % 512)
    return header("p", b"%011o\0" % len(text), b"x") + padded + header() + bytes(1024)


def record(key: str, value: str) -> bytes:
    """A pax record."""
    length = len(key) + len(value.encode()) + 3
    while len(str(length)) + len(key) + len(value.encode()) + 3 != length:
        length = len(str(length)) + len(key) + len(value.encode()) + 3
    return f"{length} {key}={value}\n".encode()


def edit(data: bytes, old: bytes, new: bytes, times: int = -1) -> bytes:
    """Replace bytes that have to be there, by as many."""
    assert old in data and len(old) == len(new)
    return data.replace(old, new, times)


def patch(data: bytes, mark: bytes, at: int, form: str, value: int) -> bytes:
    """Write a number `at` bytes after the first `mark`."""
    place = data.index(mark) + at
    raw = struct.pack(form, value)
    return data[:place] + raw + data[place + len(raw) :]


def local(data: bytes, at: int, form: str, value: int) -> bytes:
    """Change a zip's first local header."""
    return patch(data, b"PK\3\4", at, form, value)


def listed(data: bytes, at: int, form: str, value: int) -> bytes:
    """Change the first entry of a zip's list."""
    return patch(data, b"PK\1\2", at, form, value)


def overlapping() -> bytes:
    """A zip whose second entry lies inside the first one."""
    inner = make_zip(("b", b"B" * 40), packing=zipfile.ZIP_STORED)
    inside = inner[: inner.index(b"PK\1\2")]
    data = make_zip(("a", inside), ("b", b"B" * 40), packing=zipfile.ZIP_STORED)
    place = data.rindex(b"PK\1\2") + 42
    return data[:place] + struct.pack("<I", 31) + data[place + 4 :]


def same_bytes_twice() -> bytes:
    """A zip with two listed entries for the same bytes, as quine bombs have thousands."""
    data = make_zip(("aa", b"A" * 40), ("bb", b"A" * 40))
    place = data.rindex(b"PK\1\2") + 42
    return data[:place] + struct.pack("<I", 0) + data[place + 4 :]


def longer_than_said() -> bytes:
    """A zip entry of 1,000 bytes that says 10, with the checksum of those 10."""
    data = make_zip(("a", b"A" * 1000))
    for change, size, crc in ((local, 22, 14), (listed, 24, 16)):
        data = change(data, size, "<I", 10)
        data = change(data, crc, "<I", zlib.crc32(b"A" * 10))
    return data


def trailing() -> bytes:
    """A zip entry whose packed bytes go on after their end."""
    data = make_zip(("a", b"A" * 9))
    place = data.index(b"PK\3\4") + 31
    packed = struct.unpack("<I", data[18:22])[0]
    data = data[: place + packed] + b"evil" + data[place + packed :]
    data = patch(data, b"PK\5\6", 16, "<I", data.index(b"PK\1\2"))
    return listed(local(data, 18, "<I", packed + 4), 20, "<I", packed + 4)


LINK, PIPE, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFBLK | 0o644
ONE = ("a", b"A" * 50)
ZIP, TAR = make_zip(ONE), make_tar(ONE)
MIB = 1 << 20
ZEROS = bytes(8 * MIB)

NAMES = {
    "parent": ("../out", r"steps out"),
    "parent inside": ("a/../../out", r"steps out"),
    "parent that comes back": ("a/../b", r"steps out"),
    "absolute": ("/tmp/foveate-out", r"root of the disk"),
    "drive": ("C:/out", r"drive letter"),
    "drive without a slash": ("c:out", r"drive letter"),
    "backslash": ("..\\out", r"backslash"),
    "share": ("\\\\host\\share", r"backslash"),
    "line break": ("a\nb", r"control characters"),
    "escape": ("a\x1b[2Jb", r"control characters"),
    "dots and a space": (".. /out", r"dots and spaces"),
    "three dots": (".../out", r"dots and spaces"),
    "wide dots": ("\uff0e\uff0e/out", r"dots and spaces"),
    "deep": ("a/" * 17 + "b", r"nested more than 16"),
    "long part": ("a" * 256, r"more than 255 bytes"),
    "long": ("/".join(["a" * 200] * 6), r"longer than 1024"),
    "nothing": (".", r"without a name"),
}
PAIRS = {
    "twice": ("a", "a", r"same file twice"),
    "twice by a dot": ("a/b", "a/./b", r"same file twice"),
    "case": ("a/b", "a/B", r"case or spelling"),
    "case of a folder": ("Train/a", "train/b", r"case or spelling"),
    "accents": ("caf\u00e9", "cafe\u0301", r"case or spelling"),
    "sharp s": ("stra\u00dfe", "STRASSE", r"case or spelling"),
    "dot at the end": ("a", "a.", r"case or spelling"),
    "file as folder": ("a", "a/b", r"also has a folder"),
    "folder as file": ("a/b", "a", r"also has a folder"),
}
ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "link": (lambda: make_zip(("a", b"/etc/passwd"), mode=LINK), r"link, a device"),
    "pipe": (lambda: make_zip(ONE, mode=PIPE), r"link, a device"),
    "device": (lambda: make_zip(ONE, mode=DEVICE), r"link, a device"),
    "folder with contents": (lambda: make_zip(("a/", b"x")), r"folder with contents"),
    "file that says folder": (lambda: make_zip(ONE, mode=stat.S_IFDIR), r"says folder"),
    "encrypted": (lambda: listed(local(ZIP, 6, "<H", 1), 8, "<H", 1), r"encrypted"),
    "encrypted in secret": (lambda: local(ZIP, 6, "<H", 1), r"disagree"),
    "bzip2": (lambda: make_zip(ONE, packing=zipfile.ZIP_BZIP2), r"packing 12"),
    "two names": (lambda: edit(make_zip(("aaaa", b"")), b"aaaa", b"../b", 1), r"disagree"),
    "NUL in a name": (lambda: edit(make_zip(("a#b", b"")), b"a#b", b"a\0b"), r"control"),
    "two sizes": (lambda: local(ZIP, 22, "<I", 49), r"disagree"),
    "two packings": (lambda: local(ZIP, 8, "<H", 0), r"disagree"),
    "longer": (longer_than_said, r"longer than it says"),
    "shorter": (lambda: listed(local(ZIP, 22, "<I", 51), 24, "<I", 51), r"shorter than"),
    "checksum": (lambda: listed(local(ZIP, 14, "<I", 1), 16, "<I", 1), r"checksum is wrong"),
    "bytes after an entry": (trailing, r"bytes after its end"),
    "overlapping": (overlapping, r"overlap"),
    "the same bytes twice": (same_bytes_twice, r"overlap|disagree"),
    "entry that is not there": (lambda: listed(ZIP, 42, "<I", 7), r"not there"),
    "bomb": (lambda: make_zip(("a", ZEROS)), r"times its size"),
    "bomb that lies": (
        lambda: listed(local(make_zip(("a", ZEROS)), 22, "<I", MIB), 24, "<I", MIB),
        r"longer than it says|times its size",
    ),
    "too much": (lambda: make_zip(*((str(n), bytes(range(256)) * 999) for n in range(9))), "more"),
    "too many": (lambda: make_zip(*((str(n), b"") for n in range(60))), r"more than 50 entries"),
    "cut off": (lambda: ZIP[:-30], r"cut off, or is no zip"),
    "cut in an entry": (lambda: ZIP[:20] + ZIP[ZIP.index(b"PK\1\2") :], r"not there|damaged|disag"),
    "no zip": (lambda: b"<html>please log in</html>", r"no zip"),
    "empty": (lambda: b"", r"no zip"),
    "list of 1 GB": (lambda: patch(ZIP, b"PK\5\6", 12, "<I", 1 << 30), r"list of entries"),
}
TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "symbolic link": (lambda: make_tar(special("a", b"2", "/etc")), r"a symbolic link"),
    "link, then a file in it": (
        lambda: make_tar(special("a", b"2", ".."), ("a/out", b"x")),
        r"a symbolic link",
    ),
    "hard link": (lambda: make_tar(special("a", b"1", "/etc/passwd")), r"a hard link"),
    "character device": (lambda: make_tar(special("a", b"3")), r"a device"),
    "block device": (lambda: make_tar(special("a", b"4")), r"a device"),
    "pipe": (lambda: make_tar(special("a", b"6")), r"a named pipe"),
    "unknown kind": (lambda: make_tar(special("a", b"V")), r"an unknown entry"),
    "sparse": (lambda: header("a", kind=b"S") + bytes(1024), r"a sparse file"),
    "sparse by pax": (lambda: pax(record("GNU.sparse.major", "1")), r"a sparse file"),
    "long link": (lambda: header("a", kind=b"K") + bytes(1024), r"a link"),
    "parent by pax": (lambda: pax(record("path", "../out")), r"steps out"),
    "NUL by pax": (lambda: pax(record("path", "a\0b")), r"control characters"),
    "parent by a long name": (
        lambda: (
            header("l", b"%011o\0" % 7, b"L") + b"../out\0" + bytes(505) + header() + bytes(1024)
        ),
        r"steps out",
    ),
    "negative size": (lambda: header(size=b"\xff" * 12) + bytes(1024), r"no number"),
    "size with a sign": (lambda: header(size=b"-0000000001\0") + bytes(1024), r"no number"),
    "size of 2 to the 80": (
        lambda: header(size=b"\x80\0\x01" + bytes(9)) + bytes(1024),
        r"more than",
    ),
    "size by pax": (lambda: pax(record("size", "-1")), r"no number"),
    "endless size by pax": (lambda: pax(record("size", "9" * 19)), r"more than"),
    "torn pax": (lambda: pax(b"99 path=a\n"), r"damaged pax"),
    "pax of length 0": (lambda: pax(b"0 path=a\n"), r"damaged pax"),
    "huge pax": (
        lambda: header("p", b"%011o\0" % (1 << 25), b"x") + bytes(1024),
        r"header of more",
    ),
    "not UTF-8": (lambda: edit(header("aaa") + bytes(1024), b"aaa", b"a\xff\xfe"), r"checksum"),
    "checksum": (lambda: edit(TAR, b"0000644", b"0000645"), r"wrong checksum"),
    "folder with contents": (
        lambda: header("a", b"%011o\0" % 512, b"5") + bytes(1536),
        r"contents",
    ),
    "cut off": (lambda: TAR[:550], r"cut off"),
    "cut before its end": (lambda: TAR[:1024], r"cut off"),
    "goes on after its end": (lambda: TAR + make_tar(("b", b"B")), r"goes on after"),
    "no tar": (lambda: b"<html>" * 200, r"no tar|no number"),
    "empty": (lambda: b"", r"no tar"),
    "too many": (lambda: make_tar(*((str(n), b"") for n in range(60))), r"more than 50 entries"),
    "too much": (lambda: make_tar(("a", bytes(3 * MIB))), r"2,097,152 bytes"),
}
PACKED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "gzip bomb": (".tar.gz", lambda: gzip.compress(make_tar(("a", ZEROS))), r"more than|bomb"),
    "gzip bomb in a tail": (".tgz", lambda: gzip.compress(TAR + ZEROS), r"bomb"),
    "bzip2 bomb": (".tar.bz2", lambda: bz2.compress(TAR + ZEROS), r"bomb"),
    "xz bomb": (".tar.xz", lambda: lzma.compress(TAR + ZEROS), r"bomb"),
    "gzip cut off": (".tar.gz", lambda: gzip.compress(TAR)[:-9], r"cut off"),
    "gzip without its checksum": (".tar.gz", lambda: gzip.compress(TAR)[:-4], r"cut off"),
    "gzip checksum": (".tar.gz", lambda: gzip.compress(TAR)[:-8] + bytes(8), r"damaged"),
    "gzip and a stranger": (".tar.gz", lambda: gzip.compress(TAR) + b"evil", r"damaged"),
    "xz cut off": (".tar.xz", lambda: lzma.compress(TAR)[:-5], r"cut off"),
    "xz that wants 1.5 GiB": (
        ".tar.xz",
        lambda: lzma.compress(TAR, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 3 << 29}]),
        r"damaged .*[Mm]emory",
    ),
    "no gzip": (".tar.gz", lambda: b"<html>" * 9, r"damaged"),
    "no bzip2": (".tar.bz2", lambda: b"<html>" * 9, r"damaged"),
    "unknown ending": (".rar", lambda: ZIP, r"no archive by its name"),
}


def every_kind() -> dict[str, tuple[str, bytes, str]]:
    """What it is -> its ending, its bytes and what has to be said of it."""
    found = {f"zip: {what}": (".zip", make(), said) for what, (make, said) in ZIPS.items()}
    found |= {f"tar: {what}": (".tar", make(), said) for what, (make, said) in TARS.items()}
    found |= {what: (ending, make(), said) for what, (ending, make, said) in PACKED.items()}
    for what, (name, said) in NAMES.items():
        found[f"zip name: {what}"] = (".zip", make_zip((name, b"x")), said)
        found[f"tar name: {what}"] = (".tar", make_tar((name, b"x")), said)
    for what, (one, other, said) in PAIRS.items():
        found[f"zip names: {what}"] = (".zip", make_zip((one, b"x"), (other, b"y")), said)
        found[f"tar names: {what}"] = (".tar", make_tar((one, b"x"), (other, b"y")), said)
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, links not followed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"/"
        for path in folder.rglob("*")
    }
