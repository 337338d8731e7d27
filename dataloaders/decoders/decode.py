"""Image files to raw pixels on the CPU: gray stays gray, 16 bits stay 16 bits.

libjpeg-turbo (through simplejpeg) drops the interpreter lock, so threads scale. Every reason that
a file cannot be read becomes one `Unreadable`, so that a bad image never ends a run.

Decisions. EXIF orientation is ignored, as torchvision's ImageFolder and Keras do: published
numbers were made that way. Alpha is dropped, a palette looked up, CMYK turned to RGB as
libjpeg-turbo does (within 1 level of Pillow). Of a TIFF with several pages the first is read. A
JPEG about which libjpeg warns (data missing, out of step or left over) is unreadable; bytes after
its end marker are nobody's business.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ...kernels.sample.columns import LONGEST
from ..errors import DataError
from . import pillow

PIXELS = 178_956_970
"""Largest image taken, as Pillow's bomb limit: a header may claim what memory cannot hold."""
BLACK_IS_ZERO, WHITE_IS_ZERO, PALETTE = 1, 0, 3  # TIFF PhotometricInterpretation
PHOTOMETRIC = (BLACK_IS_ZERO, WHITE_IS_ZERO, PALETTE, 2, 6)  # 2: RGB, 6: YCbCr, decoded to RGB


class Unreadable(Exception):
    """The bytes are no image that can be used. `str(error)` is the reason, without a file name."""


def decode(data: bytes) -> np.ndarray:
    """Bytes of a JPEG, PNG or TIFF -> (H,W,C) uint8 or uint16, C 1 or 3, contiguous.

    A DICOM too, if it has one frame and is de-identified; `decode_frames` takes the others. Sides
    are 1 to 32,767 pixels, what the sample kernel takes. Raises Unreadable, and MemoryError where
    an image of allowed size does not fit, DataError where a package for its format is missing:
    those are the machine's faults, not the image's.
    """
    if not data:
        raise Unreadable("empty file")
    read = _decoder(data)
    try:
        return _canonical(read(data))
    except (Unreadable, MemoryError, DataError):
        raise
    except Exception as error:  # decoders raise eight kinds on damaged input; all mean the same
        said = " ".join(str(error).split())[:120] or "no reason given"
        if read is _tiff:  # tifffile quotes tags, and they may hold names
            said = "damaged TIFF"
        raise Unreadable(f"{type(error).__name__}: {said}") from None


def decode_frames(
    data: bytes, window: str | tuple[float, float] = "full", allow_phi: bool = False
) -> list[np.ndarray]:
    """Bytes of any image file -> its frames: of a DICOM all of them, of another format one.

    `window` says how gray values of a DICOM become levels (`dicom.levels`). Raises as `decode`
    does, and DataError for a DICOM that may name a patient, unless `allow_phi`.
    """
    if not is_dicom(data):
        return [decode(data)]
    from ..dicom.pixels import decode_dicom

    return decode_dicom(data, window, allow_phi)


def is_dicom(data: bytes) -> bool:
    """Whether the first 132 bytes are those of a DICOM file, whatever else they may be."""
    return data[128:132] == b"DICM"


def _dicom(data: bytes) -> np.ndarray:
    frames = decode_frames(data)
    if len(frames) > 1:
        raise Unreadable(f"DICOM of {len(frames)} frames where one image is wanted")
    return frames[0]


def _decoder(data: bytes) -> Callable[[bytes], np.ndarray]:
    if is_dicom(data):  # first: the bytes before may make it a TIFF as well, with no patient gate
        return _dicom
    if data[:2] == b"\xff\xd8":
        return _jpeg
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # the last two: BigTIFF
        return _tiff
    raise Unreadable("neither JPEG, PNG, TIFF nor DICOM")


def _jpeg(data: bytes) -> np.ndarray:
    try:
        import simplejpeg
    except ImportError:
        pillow.say_once("simplejpeg", "JPEGs are decoded by Pillow, slower")
        return pillow.read_jpeg(data, _check_sides)
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # TurboJPEG knows seven ways to sample chroma, libjpeg knows all
        return pillow.read_jpeg(data, _check_sides)
    _check_sides(height, width)
    wanted = "GRAY" if colour.upper() == "GRAY" else "RGB"
    # strict: libjpeg fills a cut file with gray and only warns. A cut of 1 byte is found.
    return simplejpeg.decode_jpeg(data, colorspace=wanted, strict=True)


def _png(data: bytes) -> np.ndarray:
    _check_sides(int.from_bytes(data[20:24]), int.from_bytes(data[16:20]))
    try:
        import imagecodecs
    except ImportError:
        pillow.say_once("imagecodecs", "8-bit PNGs are decoded by Pillow, 16-bit ones not at all")
        return pillow.read_png(data)
    return imagecodecs.png_decode(data)


def _tiff(data: bytes) -> np.ndarray:
    try:
        import tifffile
    except ImportError:
        raise DataError("an image is a TIFF, which needs tifffile: pip install it") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs tags: they may hold names
    try:
        file = tifffile.TiffFile(io.BytesIO(data))
        page: Any = file.pages[0]
    except MemoryError:  # a damaged tag claimed 4 EiB
        raise Unreadable("TIFF header claims more than memory holds") from None
    _check_sides(page.imagelength, page.imagewidth)
    if page.size > 4 * PIXELS or np.prod(page.chunks) > 4 * PIXELS:
        raise Unreadable(f"TIFF page or tile of {page.size:,} values; {4 * PIXELS:,} are taken")
    if page.photometric not in PHOTOMETRIC:
        raise Unreadable(f"TIFF photometric is {int(page.photometric)}; gray or RGB is needed")
    pixels = page.asarray(maxworkers=1)  # our own threads are at work already
    if page.planarconfig == 2 and pixels.ndim == 3:  # one plane per channel
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if page.photometric == WHITE_IS_ZERO:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if page.photometric == PALETTE:
        pixels = (page.colormap.T[pixels] >> 8).astype(np.uint8)
    return pixels


def _check_sides(height: int, width: int) -> None:
    if height * width > PIXELS or not 0 < min(height, width) <= max(height, width) <= LONGEST:
        raise Unreadable(
            f"{width} x {height} pixels; sides of 1 to {LONGEST:,} and {PIXELS:,} pixels are taken"
        )


def _canonical(pixels: np.ndarray) -> np.ndarray:
    """Any decoder's array -> (H,W,1 or 3), contiguous; an alpha channel is dropped."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise Unreadable(f"array of shape {pixels.shape}; (height, width[, channels]) is needed")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"pixels are {pixels.dtype}; 8 or 16 bit unsigned integers are needed")
    colours = 1 if pixels.shape[2] < 3 else 3
    return np.ascontiguousarray(pixels[:, :, :colours])
