"""What stands in a JPEG's header, and whether the quick decoders may have the file.

Quick decoders (DALI, nvJPEG) end a whole batch over one file that they do not take, or return gray
where data are missing. So a file is given to them only where its markers say that it is what all
of them take: 8 bits, baseline, one scan, gray or YCbCr, whole to the end marker. Nothing is
decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...kernels.sample.columns import LONGEST
from .decode import PIXELS

SEGMENTS = 1000
"""Most marker segments before the scan; an ICC profile has 255 at most."""
BASELINE, PROGRESSIVE = 0xC0, 0xC2
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
ARITHMETIC = {*range(0xC9, 0xD0)}
HUFFMAN, QUANTISERS, SCAN, JFIF, ADOBE = 0xC4, 0xDB, 0xDA, 0xE0, 0xEE
ALONE = {0x00, 0x01, *range(0xD0, 0xDA), 0xFF}
"""What has no length: restarts, start and end of image; and what is no marker."""
NAMED = {JFIF: b"JFIF\0", ADOBE: b"Adobe"}
LUMA = {(1, 1), (2, 1), (1, 2), (2, 2)}
"""4:4:4, 4:2:2, 4:4:0 and 4:2:0, where chroma is 1 x 1."""
YCBCR = 1  # Adobe's transform
WHOLE_SPECTRUM = b"\0\x3f\0"  # coefficients 0 to 63, all their bits
LEAST_BITS = 2  # of a block: one for its mean, one to say that nothing follows
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker after compressed data that is no stuffed zero, restart or fill byte."""
END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Header:
    """A JPEG up to its first compressed byte."""

    frame: int
    """Second byte of its frame marker: 0xC0 baseline, 0xC2 progressive."""
    bits: int
    height: int
    width: int
    components: tuple[tuple[int, int, int], ...]
    """(number, horizontal sampling, vertical sampling) of each."""
    scan: int
    """Where the compressed data begin, in bytes."""
    whole: bool
    """Whether that one scan holds every component and coefficient."""
    ycbcr: bool
    """Whether the markers say beyond doubt that three components are YCbCr."""
    tables: bool
    """Whether it brings quantisers and Huffman codes of its own."""


def jpeg_header(data: bytes) -> Header:
    """Read the markers before the first scan. Raises ValueError where they are not as they should.

    Stricter than libjpeg: fill bytes, a second frame or more than 1,000 segments are refused here
    and may still be readable there.
    """
    seen: dict[int, bytes] = {}
    for mark, body, after in _segments(data):
        if mark in NAMED and not body.startswith(NAMED[mark]):
            continue  # somebody else's use of the marker
        if mark in FRAMES and FRAMES & seen.keys():
            raise ValueError("two frames")
        seen[mark] = body
        if mark == SCAN:
            return _header(seen, after)
    raise ValueError("no scan")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, its bytes, where the next begins), until the caller has enough."""
    place = 2  # after the start of image, by which the caller knew it for a JPEG
    for _ in range(SEGMENTS):
        head = data[place : place + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in ALONE:
            raise ValueError("no marker where one is due")
        end = place + 2 + int.from_bytes(head[2:])
        if not place + 4 <= end <= len(data):
            raise ValueError("a segment longer than the file")
        yield head[1], data[place + 4 : end], end
        place = end
    raise ValueError("too many segments")


def _header(seen: dict[int, bytes], scan: int) -> Header:
    frames = FRAMES & seen.keys()
    if not frames:
        raise ValueError("a scan before its frame")
    (frame,) = frames
    body, said = seen[frame], seen[SCAN]
    count = body[5] if len(body) > 5 else 0
    if not count or len(body) != 6 + 3 * count or len(said) < 4:
        raise ValueError("a frame or scan of the wrong length")
    parts = [body[place : place + 3] for place in range(6, len(body), 3)]
    numbers = tuple(part[0] for part in parts)
    return Header(
        frame=frame,
        bits=body[0],
        height=int.from_bytes(body[1:3]),
        width=int.from_bytes(body[3:5]),
        components=tuple((part[0], part[1] >> 4, part[1] & 15) for part in parts),
        scan=scan,
        whole=said[0] == count and said[-3:] == WHOLE_SPECTRUM,
        ycbcr=_is_ycbcr(seen, numbers),
        tables={HUFFMAN, QUANTISERS} <= seen.keys(),
    )


def _is_ycbcr(seen: dict[int, bytes], numbers: tuple[int, ...]) -> bool:
    """Adobe's marker decides, then JFIF, which allows nothing else, then the usual numbers."""
    if ADOBE in seen:
        return seen[ADOBE][11:12] == bytes([YCBCR])
    return JFIF in seen or numbers == (1, 2, 3)


def why_slow(header: Header) -> str:
    """Why a quick decoder may not have this JPEG, in few words; "" where it may."""
    sides = header.height, header.width
    sampling = [part[1:] for part in header.components]
    checks = {
        "progressive": header.frame == PROGRESSIVE,
        "arithmetic coding": header.frame in ARITHMETIC,
        "not 8 bits": header.bits != 8,
        "neither baseline nor progressive": header.frame != BASELINE,
        "its size": not 0 < min(sides) <= max(sides) <= LONGEST or sides[0] * sides[1] > PIXELS,
        "neither gray nor three colours": len(sampling) not in (1, 3),
        "unusual sampling": sampling[0] not in LUMA or set(sampling[1:]) - {(1, 1)},
        "not surely YCbCr": len(sampling) == 3 and not header.ycbcr,
        "several scans": not header.whole,
        "no tables": not header.tables,
    }
    return next((why for why, found in checks.items() if found), "")


def find_end(data: bytes, header: Header) -> int:
    """Where the one scan's end marker ends, in bytes; ValueError where it is not there.

    Refuses a scan with fewer bits than its blocks need at the very least, which bounds what memory
    a header can ask for.
    """
    found = MARKER.search(data, header.scan)
    if found is None:
        raise ValueError("no end marker")
    if found[0] != END:
        raise ValueError("more after the scan")
    if 8 * (found.start() - header.scan) < LEAST_BITS * _blocks(header):
        raise ValueError("too short for its size")
    return found.end()


def _blocks(header: Header) -> int:
    """How many blocks of 8 x 8 are coded."""
    if len(header.components) == 1:  # a scan of one component has no larger unit than a block
        return -(-header.height // 8) * -(-header.width // 8)
    across = max(part[1] for part in header.components)
    down = max(part[2] for part in header.components)
    units = -(-header.height // (8 * down)) * -(-header.width // (8 * across))
    return units * sum(part[1] * part[2] for part in header.components)
