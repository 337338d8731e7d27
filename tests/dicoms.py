"""DICOM files to read: written by pydicom, of any photometric, depth, sign, syntax and number of
frames; de-identified unless asked otherwise."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", minversion="3.0.2")
Dataset = pydicom.dataset.Dataset
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def make(pixels: np.ndarray, syntax: str = EXPLICIT, **elements: Any) -> Any:
    """(H,W), (F,H,W), (H,W,3) or (F,H,W,3) -> a data set; `elements` replace or add by keyword.

    `bits` is BitsStored, by default all of a cell; `frames` are encoded ones for `syntax`.
    """
    bits = elements.pop("bits", 8 * pixels.dtype.itemsize)
    encoded = elements.pop("frames", None)
    colour = pixels.shape[-1] == 3 and pixels.ndim > 2
    shape = pixels.shape[:-1] if colour else pixels.shape
    data = pydicom.dataset.FileDataset("", {}, file_meta=pydicom.dataset.FileMetaDataset())
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SECONDARY_CAPTURE
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "2.25.7"
    data.file_meta.TransferSyntaxUID = syntax
    data.PatientIdentityRemoved, data.Modality = "YES", "OT"
    data.Rows, data.Columns = shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    if len(shape) == 3:
        data.NumberOfFrames = shape[0]
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == BIG_ENDIAN else "<"
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data.PixelData = (
        pydicom.encaps.encapsulate(encoded) if encoded else raw + b"\0" * (len(raw) % 2)
    )
    data["PixelData"].VR = "OB" if encoded or pixels.dtype.itemsize == 1 else "OW"
    data["PixelData"].is_undefined_length = bool(encoded)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def write(data: Any) -> bytes:
    """The bytes of its file."""
    file = io.BytesIO()
    syntax = data.file_meta.TransferSyntaxUID
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    data.preamble = b"\0" * 128
    pydicom.dcmwrite(
        file, data, implicit_vr=implicit, little_endian=little, enforce_file_format=False,
        force_encoding=True,
    )  # fmt: skip
    return file.getvalue()


def encode(pixels: np.ndarray, syntax: str = EXPLICIT, **elements: Any) -> bytes:
    """`make` and `write`."""
    return write(make(pixels, syntax, **elements))


def ramp(bits: int = 12, signed: bool = False, height: int = 12, width: int = 20) -> np.ndarray:
    """(H,W) of the whole range of `bits`: its ends and numbers between."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.linspace(low, high, height * width).round()
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    return values.reshape(height, width).astype(kind)


def item(**elements: Any) -> Any:
    """A data set to put into a sequence."""
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data
