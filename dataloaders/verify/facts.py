"""What there is to know about one image file, from reading and decoding it once."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..decoders.decode import PIXELS, Unreadable, decode
from .near import fingerprint

SLIDES = (".svs", ".ndpi", ".scn", ".bif")
"""Endings of whole slides that are TIFF inside: decoded tile by tile, never as a whole."""
WHOLE_BYTES = 64_000_000
ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Facts:
    """One file. `reason` says why it cannot be used; then what decoding gives is empty."""

    sha256: bytes = b""
    """32 bytes; empty where the file cannot be opened."""
    size: int = 0
    """Bytes of the file."""
    reason: str = ""
    kind: str = ""
    """JPEG, PNG, TIFF or slide."""
    height: int = 0
    width: int = 0
    channels: int = 0
    depth: int = 0
    """Bits per channel: 8 or 16."""
    progressive: bool = False
    turned: bool = False
    """It has an EXIF orientation other than upright; training ignores it."""
    gray_in_colour: bool = False
    """Three channels that are equal in every pixel."""
    signs: bytes = b""
    """24 bytes; empty for a picture of one colour and for what is not decoded whole."""


def examine(path: Path) -> Facts:
    """Hash and decode one file; every fault of the file becomes a reason, none an exception.

    Raises DataError where a package for its format is missing.
    """
    try:
        size = path.stat().st_size
        if path.suffix.lower() in SLIDES and size > WHOLE_BYTES:
            return _examine_slide(path, size)
        data = path.read_bytes()
    except OSError as error:
        return Facts(reason=f"cannot be opened: {error.strerror}")
    sha256 = hashlib.sha256(data).digest()
    try:
        pixels = decode(data)
    except Unreadable as error:
        return Facts(sha256, len(data), str(error))
    except MemoryError:
        return Facts(sha256, len(data), "does not fit into memory")
    height, width, channels = pixels.shape
    kind = "slide" if path.suffix.lower() in SLIDES else _kind(data)
    progressive, turned = _read_header(data) if kind == "JPEG" else (False, False)
    return Facts(
        sha256=sha256,
        size=len(data),
        kind=kind,
        height=height,
        width=width,
        channels=channels,
        depth=8 * pixels.itemsize,
        progressive=progressive,
        turned=turned,
        gray_in_colour=channels == 3 and _is_gray(pixels),
        signs=fingerprint(pixels),
    )


def _kind(data: bytes) -> str:
    return {b"\xff\xd8": "JPEG", b"\x89P": "PNG"}.get(data[:2], "TIFF")


def _read_header(data: bytes) -> tuple[bool, bool]:
    """(progressive, has an orientation) of a JPEG that decodes; no pixel is read."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        return "progressive" in image.info, image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # damaged EXIF raises six kinds, and is nobody's business here
        return False, False


def _is_gray(pixels: np.ndarray) -> bool:
    first = pixels[:, :, 0]
    return bool((first == pixels[:, :, 1]).all() and (first == pixels[:, :, 2]).all())


def _examine_slide(path: Path, size: int) -> Facts:
    """A large slide by its header: are all tiles of all pages inside the file? Nothing decodes."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").digest()
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs tags: they may hold names
    try:
        with tifffile.TiffFile(path) as slide:
            pages: list[Any] = list(slide.pages)
            first = pages[0]
            ends = [
                offset + length
                for page in pages
                for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
    except Exception as error:  # tifffile raises eight kinds, and quotes tags
        return Facts(sha256, size, f"damaged slide header ({type(error).__name__})")
    if not ends or max(ends) > size:
        return Facts(sha256, size, "tiles of the slide lie beyond the end of the file")
    if first.imagelength * first.imagewidth > PIXELS * 1000:
        return Facts(sha256, size, f"slide of {first.imagewidth} x {first.imagelength} pixels")
    return Facts(
        sha256=sha256,
        size=size,
        kind="slide",
        height=first.imagelength,
        width=first.imagewidth,
        channels=int(first.samplesperpixel),
        depth=int(first.bitspersample),
    )
