"""Reading a DICOM header: within limits, in silence, and only technical facts come out.

pydicom quotes values in its warnings, log lines and exceptions, and a value may be a patient's
name: warnings and log lines are switched off, and no text of its exceptions is passed on. What is
kept of a header are the numbers below and the elements of `TECHNICAL`.

A DICOM is what has 'DICM' at byte 128. A file without it could only be told by its name, and any
bytes parse as some header; such files (ACR-NEMA, bare data sets) are refused. DICOMDIR is an index
that leads to other files, and is never followed.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from ...kernels.sample.columns import LONGEST
from ..decoders.decode import PIXELS, Unreadable, is_dicom
from ..errors import DataError
from .identifying import Findings, find_identifying

FRAMES = 100_000
"""Most frames of a file: each is a row of the manifest."""
FILE_BYTES = 2**33
"""Most that the frames of one file may decode to."""
HEADER_BYTES = 2**24
"""Most that one element before the pixels may hold; a quarter of it a whole deflated header."""
READS = 150_000
"""Reads that a header may cost, 2 or 3 per element, 10 to 14 us each: at most 2 s. An ordinary
header takes 300, an enhanced one about 50 per frame."""

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
DIRECTORY = "1.2.840.10008.1.3.10"
PIXEL_DATA = 0x7FE00010
GRAY = ("MONOCHROME1", "MONOCHROME2")
YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
PHOTOMETRIC = {**dict.fromkeys((*GRAY, "PALETTE COLOR"), 1), **dict.fromkeys(("RGB", *YBR), 3)}
"""Samples per pixel of each photometric interpretation that is read."""
TECHNICAL = (
    *("Modality", "BurnedInAnnotation", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "RescaleType"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData"),
    *("GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"),
    *("SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData"),
    *("SegmentedBluePaletteColorLookupTableData", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
"""All of a data set that outlives the reading of its header. None of it is ever quoted: messages
hold whole numbers and words of a fixed list."""


@dataclass(frozen=True)
class Header:
    """What decoding needs to know. Every number was checked against the others and the file."""

    syntax: str
    """Transfer syntax UID."""
    rows: int
    columns: int
    samples: int
    """1 or 3 per pixel."""
    frames: int
    allocated: int
    """Bits of a cell: 1, 8 or 16."""
    stored: int
    """Bits of it that hold the value."""
    high: int
    """The highest of those."""
    signed: bool
    photometric: str
    planar: bool
    """Whether each frame holds one plane per colour."""
    offset: int
    """Where the pixels' value begins in `body`."""
    length: int
    """Bytes of that value; -1 where it is compressed and ends with a delimiter."""
    technical: Any
    """pydicom Dataset of the elements of TECHNICAL that are there."""
    body: Body
    """The file, or what it inflates to."""
    findings: Findings

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, not compressed; 0 for 1-bit frames, which share bytes."""
        values = self.rows * self.columns * (2 if self.halved else self.samples)
        return values * (self.allocated // 8)

    @property
    def halved(self) -> bool:
        """Whether two pixels share their colour: four values for both."""
        return self.photometric == "YBR_FULL_422" and self.syntax in NATIVE

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames, not compressed."""
        if self.allocated == 1:
            return -(-self.rows * self.columns * self.frames // 8)
        return self.frame_bytes * self.frames


class Body:
    """A file without a name that counts its reads; pydicom puts names of files into warnings."""

    def __init__(self, file: BinaryIO, meter: list[int] | None = None) -> None:
        self.file, self.meter = file, meter or [READS]
        self.seek, self.tell = file.seek, file.tell
        self._inflater: Any = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes. Raises Unreadable past the limits."""
        self.meter[0] -= 1
        if self.meter[0] < 0 or size > HEADER_BYTES:
            raise Unreadable("DICOM header of more elements or longer ones than are taken")
        return self.file.read(size)

    def within(self, value: bytes) -> Body:
        """Bytes of one element as a file that counts on the same meter."""
        return Body(io.BytesIO(value), self.meter)

    def inflate(self) -> Body:
        """What follows, inflated as far as a header may reach. The rest comes with `take`."""
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        front = io.BytesIO(inflater.decompress(self.file.read(), HEADER_BYTES // 4))
        body = Body(front, self.meter)
        body._inflater = inflater
        return body

    def length(self) -> int:
        """Bytes there are at most: of a deflated body an upper bound, as deflate can do 1:1032."""
        size = self.file.seek(0, io.SEEK_END)
        return size + (1032 * len(self._inflater.unconsumed_tail) if self._inflater else 0)

    def take(self, offset: int, length: int = -1) -> bytes:
        """`length` bytes from `offset`, or all that follow; fewer where the file is cut."""
        missing = offset + length - self.file.seek(0, io.SEEK_END)
        if self._inflater and missing > 0:
            self.file.write(self._inflater.decompress(self._inflater.unconsumed_tail, missing))
        self.file.seek(offset)
        return self.file.read(length)


def read_header(file: BinaryIO) -> Header:
    """The header of an open file, up to its pixels; those are not read.

    Raises Unreadable where it is damaged, claims what the file cannot hold, or holds no image;
    DataError where pydicom is missing.
    """
    import_pydicom()
    try:
        return _read(Body(file))
    except (Unreadable, MemoryError, DataError):
        raise
    except Exception as error:  # pydicom raises a dozen kinds, and quotes values in most
        raise Unreadable(f"damaged DICOM header ({type(error).__name__})") from None


def import_pydicom() -> Any:
    """pydicom, told to be silent. Raises DataError where it is missing or too old."""
    try:
        import pydicom
    except ImportError:
        raise DataError(
            "an image is a DICOM, which needs pydicom: pip install 'foveate[dicom]'"
        ) from None
    if tuple(int(n) for n in re.findall(r"\d+", pydicom.__version__)[:3]) < (3, 0, 2):
        raise DataError(
            "an image is a DICOM, and this pydicom has a known hole; pip install 'pydicom>=3.0.2'"
        )
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    rule = ("ignore", None, Warning, re.compile(r"pydicom"), 0)
    if rule not in warnings.filters:  # tests and notebooks put others in front
        warnings.filterwarnings("ignore", category=Warning, module=r"pydicom")
    return pydicom


def _read(file: Body) -> Header:
    from pydicom.filereader import read_dataset

    if not is_dicom(file.read(132)):
        raise Unreadable("no DICOM: it lacks the mark at byte 128")
    reader: Any = read_dataset  # it takes anything that reads, tells and seeks
    meta = reader(file, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if str(meta.get("MediaStorageSOPClassUID", "")) == DIRECTORY:
        raise Unreadable("a DICOMDIR: an index of files, no image")
    if not syntax:
        raise Unreadable("DICOM without a transfer syntax")
    body = file.inflate() if syntax == DEFLATED else file
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    everything = reader(
        body, implicit, little, stop_when=lambda tag, *_: 0x7FE00008 <= tag <= PIXEL_DATA
    )
    findings = find_identifying(everything, body)
    offset, length = _find_pixels(body, implicit, little)
    return _check(
        _describe(syntax, _keep(everything, implicit, little), offset, length, body, findings)
    )


def _keep(everything: Any, implicit: bool, little: bool) -> Any:
    """The technical elements only; the rest is let go here."""
    from pydicom.dataset import Dataset

    kept = Dataset()
    kept.set_original_encoding(implicit, little, "iso8859")
    for keyword in TECHNICAL:
        if keyword in everything:
            kept[keyword] = everything[keyword]
    return kept


def _find_pixels(body: Body, implicit: bool, little: bool) -> tuple[int, int]:
    """(place, length) of the value of Pixel Data, whose element is next; -1: not defined."""
    order, head = "<" if little else ">", body.file.read(12)
    if len(head) < 12 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise Unreadable("DICOM without pixels of whole numbers")
    (length,) = struct.unpack(order + "I", head[4:8] if implicit else head[8:12])
    return body.tell() - (4 if implicit else 0), -1 if length == 0xFFFFFFFF else length


def _describe(
    syntax: str, kept: Any, offset: int, length: int, body: Body, findings: Findings
) -> Header:
    allocated = _whole(kept, "BitsAllocated")
    stored = _whole(kept, "BitsStored", allocated)
    photometric = str(kept.get("PhotometricInterpretation", "")).strip()
    return Header(
        syntax=syntax,
        rows=_whole(kept, "Rows"),
        columns=_whole(kept, "Columns"),
        samples=_whole(kept, "SamplesPerPixel", 1),
        frames=_whole(kept, "NumberOfFrames", 1) or 1,  # some scanners write 0 for 1
        allocated=allocated,
        stored=stored,
        high=_whole(kept, "HighBit", stored - 1),
        signed=bool(_whole(kept, "PixelRepresentation", 0)),
        photometric=photometric,
        planar=bool(_whole(kept, "PlanarConfiguration", 0)),
        offset=offset,
        length=length,
        technical=kept,
        body=body,
        findings=findings,
    )


def _whole(kept: Any, keyword: str, default: int | None = None) -> int:
    """A whole number of the header; where it is missing or empty, the default."""
    value = kept.get(keyword)
    if value is None and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Unreadable(f"DICOM header: {keyword} is missing or no number") from None


def _check(header: Header) -> Header:
    """Raises Unreadable where the numbers do not fit each other, the limits or the file."""
    sides = (header.rows, header.columns)
    if min(sides) < 1 or max(sides) > LONGEST or header.rows * header.columns > PIXELS:
        raise Unreadable(
            f"DICOM of {header.columns} x {header.rows} pixels; sides of 1 to {LONGEST:,} and "
            f"{PIXELS:,} pixels are taken"
        )
    if PHOTOMETRIC.get(header.photometric) != header.samples:
        raise Unreadable("DICOM photometric interpretation unknown, or not of its samples")
    bits = (header.allocated, header.stored, header.high)
    if header.allocated not in (1, 8, 16) or not 0 < header.stored <= header.high + 1 <= bits[0]:
        raise Unreadable(f"DICOM bits (allocated, stored, high) are {bits}; 1, 8 or 16 are read")
    if not 0 < header.frames <= FRAMES or header.native_bytes > FILE_BYTES:
        raise Unreadable(
            f"DICOM of {header.frames:,} frames, {header.native_bytes:,} bytes; {FRAMES:,} and "
            f"{FILE_BYTES:,} are taken"
        )
    there = header.body.length() - header.offset
    compressed = header.syntax not in NATIVE
    claimed = 8 * header.frames if compressed else header.native_bytes  # an item's head is 8
    if claimed > there or (not compressed and claimed > header.length):
        raise Unreadable(f"DICOM claims {claimed:,} bytes of pixels and holds {there:,} at most")
    return header
