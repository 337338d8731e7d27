"""JPEG and 8-bit PNG through Pillow: where simplejpeg or imagecodecs is missing or cannot read.

Pixels are the same (both wrap libjpeg-turbo; on the test images to the bit), files that were cut
are refused alike, and it is slower: the interpreter lock is held longer. Two things are lost.
Damage inside a JPEG about which libjpeg only warns is found by simplejpeg alone, and Pillow takes
16-bit colour down to 8 bits, so a 16-bit PNG is a DataError that says what to install.
"""

from __future__ import annotations

import functools
import io
import logging
import zlib
from collections.abc import Callable

import numpy as np

from ..errors import DataError

END, SCAN = 0xD9, 0xDA
STUFFED = (0x00, *range(0xD0, 0xD8))
"""What may follow 0xFF inside a scan: a stuffed zero, and the eight restart markers."""
PNG_HEAD = 8


@functools.cache
def say_once(package: str, instead: str) -> None:
    """Warn that a package is missing and what that costs; once in a process."""
    logging.getLogger("foveate").warning(
        "%s is not installed, %s; pip install %s", package, instead, package
    )


def read_jpeg(data: bytes, check: Callable[[int, int], None]) -> np.ndarray:
    """Bytes -> (H,W) or (H,W,3) uint8; `check(height, width)` runs before memory is taken.

    Raises ValueError where the header is damaged or the end is missing, OSError from Pillow.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
    except UnidentifiedImageError:  # its text holds a memory address
        raise ValueError("damaged JPEG header") from None
    check(image.height, image.width)
    if not _has_end(data):  # Pillow takes a file whose tail is zeros
        raise ValueError("the JPEG ends before its end marker")
    return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def read_png(data: bytes) -> np.ndarray:
    """Bytes of a PNG whose sides were checked -> (H,W) or (H,W,3) uint8; alpha is dropped.

    Raises ValueError where a checksum is wrong or the end is missing, DataError for 16 bits.
    """
    from PIL import Image

    if data[24] == 16:
        raise DataError("a PNG has 16 bits a channel, which needs imagecodecs: pip install it")
    _check_chunks(data)
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _has_end(data: bytes) -> bool:
    """Whether the markers, walked from the first, lead to an end marker."""
    place = 2
    while 0 <= place < len(data) - 1:
        if data[place] != 0xFF:
            return False
        mark = data[place + 1]
        if mark == END:
            return True
        if mark == 0xFF:  # a fill byte
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
        if mark == SCAN:
            place = _end_of_scan(data, place)
    return False


def _end_of_scan(data: bytes, place: int) -> int:
    """Where the next marker begins that is no part of compressed data; -1 where there is none."""
    while 0 <= (place := data.find(b"\xff", place)) < len(data) - 1:
        if data[place + 1] not in STUFFED:
            return place
        place += 2
    return -1


def _check_chunks(data: bytes) -> None:
    """Every chunk's CRC up to IEND: Pillow skips those of the pixels."""
    place = PNG_HEAD
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError("a PNG chunk has a wrong checksum")
        if data[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4
    raise ValueError("the PNG ends before its end chunk")
