"""DICOM files that mean harm or are damaged: refused early, in bounded memory, without a word of
what they hold."""

from __future__ import annotations

import io
import logging
import resource
import struct
import sys
import time
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
from dicoms import encode, item, make, ramp, write

from foveate.dataloaders.decoders.decode import Unreadable, decode, decode_frames
from foveate.dataloaders.dicom import header
from foveate.dataloaders.errors import DataError

FAMILY = "1.2.840.10008.1.2."
SECRET = "Kowalczyk"


def peak_mb():
    """Largest memory of this process so far, codecs and all."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused(data):
    """The reason, once it is known to have cost little."""
    before, began = peak_mb(), time.perf_counter()
    with pytest.raises(Unreadable) as caught:
        decode_frames(data, allow_phi=True)
    assert time.perf_counter() - began < 10, "hung"  # no timing: a guard against minutes
    assert peak_mb() - before < 100
    return str(caught.value)


def deflated_bomb():
    """200 kB whose body inflates to 200 MB, all of it one element before the pixels."""
    whole = encode(ramp(8), FAMILY + "1.99")
    start = whole.find(b"1.2.1.99") + 8  # the syntax is the last thing that is not deflated
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = press.compress(struct.pack("<HH2sHI", 0x0008, 0x0005, b"OB", 0, 200_000_000))
    body += b"".join(press.compress(bytes(1_000_000)) for _ in range(200))  # small, for peak_mb
    return whole[:start] + body + press.flush()


def sequence_bomb():
    """A sequence of 60,000 empty items."""
    whole = encode(ramp(8))
    at = whole.find(b"\x08\0\x16\0UI")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 60_000
    head = struct.pack("<HH2sHI", 0x0008, 0x0006, b"SQ", 0, len(items))
    return whole[:at] + head + items + whole[at:]


def nested(depth, undefined):
    inner = item(PatientComments="x")
    for _ in range(depth):
        inner = item(ReferencedSeriesSequence=[inner])
        inner["ReferencedSeriesSequence"].is_undefined_length = undefined
    return encode(ramp(8), ReferencedSeriesSequence=[inner])


def claims_a_large_codestream(kind, small):
    """A frame whose own header says 60,000 x 60,000."""
    frame = bytearray(small)
    at = frame.find(b"\xff\x4f\xff\x51")
    if at >= 0:
        frame[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    else:
        at = max(frame.find(b"\xff\xc0"), frame.find(b"\xff\xf7"))
        frame[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    return encode(ramp(8), FAMILY + kind, frames=[bytes(frame)])


BOMBS = {
    "rows and columns": lambda: encode(ramp(8), Rows=65_535, Columns=65_535),
    "a strip": lambda: encode(ramp(8), Rows=1, Columns=40_000),
    "no rows": lambda: encode(ramp(8), Rows=0),
    "more pixels than bytes": lambda: encode(ramp(8), Rows=12_000, Columns=12_000),
    "frames": lambda: encode(ramp(8), NumberOfFrames=2**31 - 1),
    "frames below zero": lambda: encode(ramp(8), NumberOfFrames=-1),
    "compressed frames": lambda: encode(
        ramp(8), FAMILY + "4.80", frames=[imagecodecs.jpegls_encode(ramp(8))], NumberOfFrames=90_000
    ),
    "jpeg": lambda: claims_a_large_codestream("4.50", imagecodecs.jpeg8_encode(ramp(8))),
    "jpeg-ls": lambda: claims_a_large_codestream("4.80", imagecodecs.jpegls_encode(ramp(8))),
    "jpeg 2000": lambda: claims_a_large_codestream(
        "4.90", imagecodecs.jpeg2k_encode(ramp(8), level=0, codecformat="j2k")
    ),
    "run lengths": lambda: encode(ramp(8), FAMILY + "5", frames=[b"\1" + bytes(63) + b"\x81\7"]),
    "deflated": deflated_bomb,
    "sequences": lambda: nested(40, undefined=False),
    "open sequences": lambda: nested(40, undefined=True),
    "many items": sequence_bomb,
    "bits": lambda: encode(ramp(8), BitsStored=12),
    "wide cells": lambda: encode(ramp(8), BitsAllocated=32, BitsStored=32, HighBit=31),
    "table": lambda: encode(
        ramp(8), ModalityLUTSequence=[item(LUTDescriptor=[0, 0, 16], LUTData=b"\0\0")]
    ),
    "slope": lambda: encode(ramp(8), RescaleSlope=0, RescaleIntercept=0),
    "directory": lambda: write(directory()),
    "syntax": lambda: encode(ramp(8), FAMILY + "4.110"),
    "no pixels": lambda: write(without_pixels()),
}


def directory():
    data = make(ramp(8))
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    return data


def without_pixels():
    data = make(ramp(8))
    del data.PixelData
    return data


@pytest.mark.parametrize("kind", BOMBS)
def test_a_hostile_header_is_refused_before_memory_is_taken(kind):
    data = BOMBS[kind]()
    refused(data)


def test_a_file_that_is_cut_is_refused_wherever():
    whole = encode(ramp(12), bits=12, PatientName=SECRET)
    for length in range(133, len(whole), 7):
        assert SECRET not in refused(whole[:length])


SEEDS = {
    "native": lambda: encode(ramp(12), bits=12, WindowCenter=9, WindowWidth=9, StudyID=SECRET),
    "frames": lambda: encode(
        np.stack([ramp(8)] * 3), RequestAttributesSequence=[item(StudyID=SECRET)]
    ),
    "jpeg": lambda: encode(ramp(8), FAMILY + "4.50", frames=[imagecodecs.jpeg8_encode(ramp(8))]),
    "deflated": lambda: encode(ramp(12), FAMILY + "1.99", PatientName=SECRET),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_mutations_end_in_pixels_or_in_one_reason(kind, caplog, capfd):
    whole = SEEDS[kind]()
    dice = np.random.default_rng(7)
    reasons = set()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(200):
            data = bytearray(whole)
            for place in dice.integers(132, len(data), dice.integers(1, 9)):
                data[place] = dice.integers(256)
            if dice.random() < 0.3:
                place = int(dice.integers(132, len(data)))
                data[place : place + int(dice.integers(1, 40))] = b""
            began = time.perf_counter()
            try:
                for frame in decode_frames(bytes(data), "file", allow_phi=True):
                    assert frame.dtype in (np.uint8, np.uint16) and frame.ndim == 3
            except Unreadable as error:
                reasons.add(str(error))
            assert time.perf_counter() - began < 5
    said = [*reasons, caplog.text, *(str(w.message) for w in heard), *capfd.readouterr()]
    assert len(reasons) > 3 and not [text for text in said if SECRET in text]
    assert not heard and "pydicom" not in caplog.text


def test_the_silence_is_not_empty(caplog):
    """pydicom says what it reads aloud where nothing is done about it: the guard is needed."""
    import pydicom

    logging.getLogger("pydicom").setLevel(logging.WARNING)
    data = encode(ramp(8), SpecificCharacterSet=SECRET)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        pydicom.dcmread(io.BytesIO(data))
    assert SECRET in caplog.text + "".join(str(w.message) for w in heard)
    caplog.clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        decode(data)
    assert SECRET not in caplog.text and not heard


def test_an_exception_of_pydicom_is_passed_on_without_its_text(monkeypatch):
    monkeypatch.setattr(header, "_describe", lambda *_: int(SECRET))
    with pytest.raises(Unreadable) as caught:
        decode(encode(ramp(8)))
    assert SECRET not in str(caught.value) and "ValueError" in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_package_is_named(monkeypatch):
    frame = imagecodecs.jpegls_encode(ramp(8))
    compressed, plain = encode(ramp(8), FAMILY + "4.80", frames=[frame]), encode(ramp(8))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imagecodecs", None)
        decode(plain)
        with pytest.raises(DataError, match="imagecodecs: pip install"):
            decode(compressed)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"pip install 'foveate\[dicom\]'"):
        decode(plain)


def test_a_pydicom_with_the_directory_hole_is_refused(monkeypatch):
    import pydicom

    monkeypatch.setattr(pydicom, "__version__", "3.0.1")
    with pytest.raises(DataError, match="known hole"):
        decode(encode(ramp(8)))
