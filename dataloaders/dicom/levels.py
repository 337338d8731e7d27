"""From stored values to levels: rescale, window, padding, inversion. Arithmetic only.

The rule, for gray images. Values go through the modality LUT or rescale, then

    full     the whole range that the stored bits can hold becomes 0 to 255 (8 bits or fewer) or 0
             to 65,535: one level per stored value, none lost, whatever this image's values are.
             Hounsfield units (CT) become HU + 32,768 instead, so that a number means the same
             tissue in every file, whatever its intercept and bits; beyond 16 bits they are clipped.
    file     the file's first VOI LUT, else its first window (LINEAR, LINEAR_EXACT, SIGMOID), else
             full; always 16 bits
    window   (center, width) in the units of the modality (HU), LINEAR; always 16 bits

then MONOCHROME1 is inverted, and padding pixels become 0. No range is taken from an image's own
values, so padding has no say in any. Under `full` an affine rescale other than CT's changes
nothing (PET: files of other slopes are not on one scale; give a window, which is in units).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decoders.decode import Unreadable
from .header import BIG_ENDIAN, Header

Window = str | tuple[float, float]
"""How gray values become levels: "full", "file" or (center, width)."""
TOP = 65_535


@dataclass(frozen=True)
class Scale:
    """What the header says about a frame's values."""

    slope: float
    intercept: float
    table: Any
    """Modality LUT item, or None."""
    hounsfield: bool
    voi: Any
    """VOI LUT item, or None."""
    center: float | None
    width: float | None
    function: str


def find_scale(header: Header, frame: int) -> Scale:
    """The scale of one frame; enhanced images keep it in shared or per-frame sequences."""
    top = header.technical
    value = _macro(top, frame, "PixelValueTransformationSequence")
    window = _macro(top, frame, "FrameVOILUTSequence")
    modality = str(top.get("Modality", ""))
    kind = str(value.get("RescaleType", "HU" if modality == "CT" else ""))
    return Scale(
        slope=_number(value, "RescaleSlope", 1.0),
        intercept=_number(value, "RescaleIntercept", 0.0),
        table=next(iter(top.get("ModalityLUTSequence") or ()), None),
        hounsfield=kind.startswith("HU") and value.get("RescaleSlope") is not None,
        voi=next(iter(top.get("VOILUTSequence") or ()), None),
        center=_number(window, "WindowCenter", None),
        width=_number(window, "WindowWidth", None),
        function=str(window.get("VOILUTFunction", "") or "LINEAR"),
    )


def scale_gray(stored: np.ndarray, header: Header, frame: int, window: Window) -> np.ndarray:
    """(H,W) int32 stored values -> (H,W) uint8 or uint16 levels, by the module's rule.

    Raises Unreadable where the header's tables or windows are impossible.
    """
    scale = find_scale(header, frame)
    padding = _find_padding(stored, header)
    values, low, high = _to_units(stored, header, scale)
    if window == "full" or (window == "file" and scale.voi is None and scale.width is None):
        levels = _spread(values, low, high, scale, deep=header.stored > 8 or window == "file")
    elif window == "file" and scale.voi is not None:
        table, top = _table(values, scale.voi, header)
        levels = _round(table * (TOP / top))
    elif window == "file":
        levels = _apply(values, scale.center or 0.0, scale.width or 0.0, scale.function)
    else:
        levels = _apply(values, float(window[0]), float(window[1]), "LINEAR")
    if header.photometric == "MONOCHROME1":
        levels = np.iinfo(levels.dtype).max - levels
    levels[padding] = 0
    return levels


def _to_units(stored: np.ndarray, header: Header, scale: Scale) -> tuple[np.ndarray, float, float]:
    """(values, lowest, highest that the stored bits can give)."""
    if scale.table is not None:
        values, top = _table(stored, scale.table, header)
        return values, 0.0, float(top)
    ends = np.array([0, 2**header.stored - 1]) - (2 ** (header.stored - 1) if header.signed else 0)
    low, high = sorted((ends * scale.slope + scale.intercept).tolist())
    if low == high:
        raise Unreadable("DICOM rescale slope is 0")
    return stored * scale.slope + scale.intercept, low, high


def _spread(values: np.ndarray, low: float, high: float, scale: Scale, *, deep: bool) -> np.ndarray:
    if scale.hounsfield and scale.table is None:
        return _round(values + 32_768)
    wide = deep or (scale.table is not None and high > 255)
    top = TOP if wide else 255
    levels = _round((values - low) * (top / (high - low)))
    return levels if wide else levels.astype(np.uint8)


def _apply(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3 -> (H,W) uint16."""
    least = 1.0 if function == "LINEAR" else 0.0
    if not np.isfinite([center, width]).all() or width < least or width == 0:
        raise Unreadable("DICOM window width is no positive number")
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        share = (values - center) / width + 0.5
    elif function == "LINEAR":
        beyond = values - (center - 0.5)
        share = beyond / (width - 1) + 0.5 if width > 1 else np.sign(beyond)
    else:
        raise Unreadable("DICOM VOI LUT function unknown")
    return _round(np.clip(share, 0, 1) * TOP)


def look_up(values: np.ndarray, descriptor: Any, data: Any, big: bool) -> tuple[np.ndarray, int]:
    """(values through a lookup table, the highest that its entries can hold).

    `descriptor` is (entries, first value, bits), `data` bytes or numbers, big-endian where `big`.
    Raises Unreadable where the table is shorter than it says.
    """
    entries, first, bits = (int(n) for n in descriptor)
    entries = entries or 65_536
    if isinstance(data, bytes):
        wide = np.dtype(">u2" if big else "<u2")
        table = np.frombuffer(data, wide if len(data) >= 2 * entries else "u1")
    else:
        table = np.atleast_1d(np.array(data, np.int64)) & 0xFFFF
    if not 8 <= bits <= 16 or len(table) < entries:
        raise Unreadable("DICOM lookup table is shorter than it says")
    if first >= 2**15 and values.min(initial=0) < 0:  # written as unsigned, meant as signed
        first -= 2**16
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[places].astype(np.int64), 2**bits - 1


def _table(values: np.ndarray, item: Any, header: Header) -> tuple[np.ndarray, int]:
    return look_up(values, item.LUTDescriptor, item.LUTData, header.syntax == BIG_ENDIAN)


def _find_padding(stored: np.ndarray, header: Header) -> np.ndarray:
    """(H,W) bool: pixels of the padding value, or from there to the range limit."""
    top = header.technical
    one, other = _number(top, "PixelPaddingValue", None), None
    if one is None:
        return np.zeros(stored.shape, bool)
    other = _number(top, "PixelPaddingRangeLimit", one)
    low, high = (_as_stored(value, header) for value in sorted((one, other)))
    return (stored >= min(low, high)) & (stored <= max(low, high))


def _as_stored(value: float, header: Header) -> float:
    """A padding value written as unsigned beside signed pixels, or the other way round."""
    if header.signed and value >= 2 ** (header.allocated - 1):
        return value - 2**header.allocated
    return value + 2**header.allocated if not header.signed and value < 0 else value


def _macro(top: Any, frame: int, name: str) -> Any:
    """The item of a functional group: the frame's, the shared one, or the data set itself."""
    own, shared = (
        top.get(f"{kind}FunctionalGroupsSequence") or () for kind in ("PerFrame", "Shared")
    )
    for groups in (own[frame : frame + 1], shared[:1]):
        for group in groups:
            if group.get(name):
                return group.get(name)[0]
    return top


def _number(part: Any, keyword: str, default: Any) -> Any:
    """The (first) number of an element, or the default. Raises Unreadable where it is none."""
    value = part.get(keyword)
    if value is not None and not isinstance(value, str | bytes | int | float) and len(value):
        value = value[0]
    if value is None or value == "" or value == []:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Unreadable(f"DICOM header: {keyword} is no number") from None
    if not np.isfinite(number):
        raise Unreadable(f"DICOM header: {keyword} is no number")
    return number


def _round(values: np.ndarray) -> np.ndarray:
    """float -> uint16, half up, clipped."""
    return np.clip(np.floor(values + 0.5), 0, TOP).astype(np.uint16)
