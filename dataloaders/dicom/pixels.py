"""Pixels of a DICOM: every frame, from stored cells to the levels that are packed.

Compressed frames are decoded by imagecodecs (libjpeg-turbo, CharLS, OpenJPEG), which drops the
interpreter lock and needs no plug-in of pydicom; the size in a frame's own header is compared
with the DICOM's first. Read: native in four spellings, RLE, JPEG of 8 to 16 bits, lossless JPEG,
JPEG-LS, JPEG 2000 and its high-throughput kind. Not read: JPEG XL, MPEG and other video.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..decoders.decode import Unreadable
from ..errors import DataError
from .header import BIG_ENDIAN, NATIVE, PHOTOMETRIC, YBR, Header, read_header
from .identifying import refuse
from .levels import Window, look_up, scale_gray

JPEG, JPEG_LS, JPEG_2000, RLE = "jpeg8_decode", "jpegls_decode", "jpeg2k_decode", "dicomrle_decode"
FAMILY = "1.2.840.10008.1.2."
CODEC = {
    **dict.fromkeys((f"{FAMILY}4.50", f"{FAMILY}4.51", f"{FAMILY}4.57", f"{FAMILY}4.70"), JPEG),
    **dict.fromkeys((f"{FAMILY}4.80", f"{FAMILY}4.81"), JPEG_LS),
    **dict.fromkeys((f"{FAMILY}4.90", f"{FAMILY}4.91"), JPEG_2000),
    **dict.fromkeys((f"{FAMILY}4.201", f"{FAMILY}4.202", f"{FAMILY}4.203"), JPEG_2000),
    f"{FAMILY}5": RLE,
}
"""Transfer syntax -> the function of imagecodecs that decodes its frames."""
LOSSY_JPEG = (f"{FAMILY}4.50", f"{FAMILY}4.51")


def decode_dicom(data: bytes, window: Window = "full", allow_phi: bool = False) -> list[np.ndarray]:
    """Bytes of a DICOM file -> its frames, each (H,W,1 or 3) uint8 or uint16, contiguous.

    `window` is "full", "file" or (center, width), as `levels` says. Raises Unreadable where the
    file is damaged, holds no image or claims more than is taken, before memory is; DataError
    where a package is missing, or the file may name a patient and not `allow_phi`. No text of
    either quotes the file.
    """
    header = read_header(io.BytesIO(data))
    if not allow_phi:
        refuse([header.findings])
    try:
        return [_finish(cells, header, n, window) for n, cells in enumerate(_cells(header))]
    except (Unreadable, MemoryError, DataError):
        raise
    except Exception as error:  # codecs and pydicom raise a dozen kinds on damage, and quote it
        raise Unreadable(f"damaged DICOM pixels ({type(error).__name__})") from None


def _cells(header: Header) -> Iterator[np.ndarray]:
    """Each frame as the file has it: (H,W) or (H,W,3) cells."""
    if header.syntax in NATIVE:
        return _native(header)
    if header.syntax not in CODEC or header.allocated == 1:
        raise Unreadable(
            "DICOM in a transfer syntax that is not read (JPEG XL, video, compressed bits); "
            "rewrite it without compression"
        )
    return _compressed(header)


def _native(header: Header) -> Iterator[np.ndarray]:
    data = header.body.take(header.offset, header.native_bytes)
    if len(data) < header.native_bytes:
        raise Unreadable("DICOM ends inside its pixels")
    if header.syntax == BIG_ENDIAN and header.allocated == 8:
        raise Unreadable("DICOM of 8 bits in the retired big-endian spelling; rewrite it")
    shape = (header.rows, header.columns)
    if header.allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        count = header.rows * header.columns
        yield from bits[: count * header.frames].reshape(-1, *shape)
        return
    size = header.frame_bytes
    for number in range(header.frames):
        frame = data[number * size : (number + 1) * size]
        if header.halved:
            yield _double(np.frombuffer(frame, np.uint8)).reshape(*shape, 3)
            continue
        order = ">" if header.syntax == BIG_ENDIAN else "<"
        cells = np.frombuffer(frame, f"{order}u{header.allocated // 8}")
        yield _interleave(cells, header)


def _double(halved: np.ndarray) -> np.ndarray:
    """Y Y B R of pairs of pixels -> (pixels,3)."""
    pairs = halved.reshape(-1, 4)
    return np.stack([pairs[:, :2], pairs[:, [2, 2]], pairs[:, [3, 3]]], axis=-1).reshape(-1, 3)


def _interleave(cells: np.ndarray, header: Header) -> np.ndarray:
    shape = (header.rows, header.columns)
    if header.samples == 1:
        return cells.reshape(shape)
    if header.planar:
        return np.moveaxis(cells.reshape(header.samples, *shape), 0, -1)
    return cells.reshape(*shape, header.samples)


def _compressed(header: Header) -> Iterator[np.ndarray]:
    from pydicom.encaps import generate_frames

    codecs = _import_codecs()
    table = tuple(
        header.technical.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    )
    frames = generate_frames(
        header.body.take(header.offset),
        number_of_frames=header.frames,
        extended_offsets=table if all(table) else None,
    )
    count = 0
    for frame in frames:
        if count == header.frames:
            break
        count += 1
        cells = _decode_frame(codecs, frame, header)
        expected = (header.rows, header.columns) + (header.samples,) * (header.samples > 1)
        if cells.shape != expected or cells.dtype.itemsize > 2:
            raise Unreadable(f"DICOM frame is {cells.shape}, its header says {expected}")
        yield cells
    if count < header.frames:
        raise Unreadable(f"DICOM of {header.frames} frames holds {count}")


def _import_codecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise DataError("a DICOM is compressed, which needs imagecodecs: pip install it") from None
    return imagecodecs


def _decode_frame(codecs: Any, frame: bytes, header: Header) -> np.ndarray:
    """One compressed frame -> (H,W) or (H,W,3) cells."""
    name = CODEC[header.syntax]
    if name == RLE:
        cells = np.dtype(f"<u{header.allocated // 8}")
        data = codecs.dicomrle_decode(frame, cells, out=header.frame_bytes)
        if len(data) != header.frame_bytes:
            raise Unreadable("damaged DICOM frame: RLE ends early")
        planes = np.frombuffer(data, cells).reshape(header.samples, header.rows, header.columns)
        return planes[0] if header.samples == 1 else np.moveaxis(planes, 0, -1)
    sides = _sides_of(frame, name)
    if sides != (header.rows, header.columns):
        raise Unreadable(f"DICOM frame is {sides}, its header says {header.rows, header.columns}")
    if name == JPEG and header.samples == 3:
        return _decode_colour(codecs, frame, header)
    return np.asarray(getattr(codecs, name)(frame))


def _decode_colour(codecs: Any, frame: bytes, header: Header) -> np.ndarray:
    """A colour JPEG -> RGB. Its own markers say how it is stored; without any, the DICOM does."""
    marked = b"JFIF" in frame[:64] or b"Adobe" in frame[:4096]
    if header.syntax not in LOSSY_JPEG:
        return codecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
    if marked:
        return codecs.jpeg8_decode(frame, outcolorspace="RGB")
    stored = "RGB" if header.photometric == "RGB" else "YCBCR"
    return codecs.jpeg8_decode(frame, colorspace=stored, outcolorspace="RGB")


def _sides_of(frame: bytes, name: str) -> tuple[int, int]:
    """(height, width) in the frame's own header: a codec takes memory for what that claims."""
    if name == JPEG_2000:
        place = frame.find(b"\xff\x4f\xff\x51")  # start of codestream, then size
        if place < 0 or len(frame) < place + 24:
            raise Unreadable("damaged DICOM frame: no JPEG 2000")
        right, low, left, top = (
            int.from_bytes(frame[place + k : place + k + 4]) for k in (8, 12, 16, 20)
        )
        return low - top, right - left
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        mark, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4])
        if mark == 0xF7 or (0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC)):
            height, width = frame[place + 5 : place + 7], frame[place + 7 : place + 9]
            return int.from_bytes(height), int.from_bytes(width)
        place += 1 if mark == 0xFF else 2 + length
    raise Unreadable("damaged DICOM frame: no JPEG")


def _finish(cells: np.ndarray, header: Header, frame: int, window: Window) -> np.ndarray:
    """Cells as the file has them -> (H,W,1 or 3) levels."""
    if header.photometric == "PALETTE COLOR":
        return _paint(_values(cells, header), header)
    if PHOTOMETRIC[header.photometric] == 1:
        levels = scale_gray(_values(cells, header), header, frame, window)
        return np.ascontiguousarray(levels[:, :, None])
    if header.photometric in YBR and header.syntax not in LOSSY_JPEG:
        if not header.photometric.startswith("YBR_FULL") and CODEC.get(header.syntax) != JPEG_2000:
            raise Unreadable("DICOM colour space is not read without its codec; rewrite as RGB")
        if header.photometric.startswith("YBR_FULL"):
            return _to_rgb(cells, header)
    return _widen(_values(cells, header), header)


def _values(cells: np.ndarray, header: Header) -> np.ndarray:
    """Cells -> int32 values: the bits that are stored, with their sign."""
    if header.allocated == 1:
        return cells.astype(np.int32)
    raw = cells.astype(cells.dtype.newbyteorder("=")).view(f"u{cells.dtype.itemsize}")
    values = raw.astype(np.int32)
    if header.syntax in NATIVE or CODEC[header.syntax] == RLE:  # other codecs give the bits alone
        values >>= header.high + 1 - header.stored
    values &= 2**header.stored - 1
    if header.signed:
        sign = 2 ** (header.stored - 1)
        values = (values ^ sign) - sign
    return values


def _widen(values: np.ndarray, header: Header) -> np.ndarray:
    """(H,W,3) colours of any depth -> uint8, or uint16 over its whole range."""
    if header.signed:
        raise Unreadable("DICOM colours with a sign")
    return _stretch(values, 2**header.stored - 1)


def _stretch(values: np.ndarray, high: int) -> np.ndarray:
    """Whole numbers from 0 to `high` -> uint8 where that is 255 or less, else uint16; half up."""
    top = 255 if high <= 255 else 65_535
    levels = (values.astype(np.int64) * (2 * top) + high) // (2 * high)
    return np.ascontiguousarray(levels.astype(np.uint8 if top == 255 else np.uint16))


def _to_rgb(cells: np.ndarray, header: Header) -> np.ndarray:
    if header.stored != 8:
        raise Unreadable(f"DICOM YBR colours of {header.stored} bits; 8 are read")
    from pydicom.pixels import convert_color_space

    ybr = np.ascontiguousarray(cells.astype(np.uint8))
    return np.ascontiguousarray(convert_color_space(ybr, "YBR_FULL", "RGB"))


def _paint(values: np.ndarray, header: Header) -> np.ndarray:
    """(H,W) places in the palette -> (H,W,3)."""
    if "SegmentedRedPaletteColorLookupTableData" in header.technical:
        return _paint_segmented(values, header)
    planes, top = [], 0
    for colour in ("Red", "Green", "Blue"):
        descriptor = header.technical[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = header.technical[f"{colour}PaletteColorLookupTableData"].value
        plane, top = look_up(values, descriptor, data, header.syntax == BIG_ENDIAN)
        planes.append(np.clip(plane, 0, top))
    return _stretch(np.stack(planes, axis=-1), top)


def _paint_segmented(values: np.ndarray, header: Header) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    entries, _, bits = header.technical.RedPaletteColorLookupTableDescriptor
    if (entries or 65_536) > 2**bits:  # pydicom counts places in the type of the entries
        raise Unreadable("DICOM palette of more places than its depth counts")
    return np.ascontiguousarray(apply_color_lut(values, header.technical)[:, :, :3])
