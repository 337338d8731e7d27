"""What every decoder of files does, whichever part of the machine does the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

UNREADABLE = "unreadable"
AGREES = {
    "CPU": {"gray": (0, 0.0), "colour": (0, 0.0)},
    "DALI cpu": {"gray": (0, 0.0), "colour": (0, 0.0)},
    "DALI mixed": {"gray": (1, 0.5), "colour": (4, 1.0)},
    "nvJPEG": {"gray": (1, 0.5), "colour": (14, 2.0)},
}
"""Decoder -> kind -> (largest, mean) difference from `decode` in levels of 255, on files of quality
75 and more. The first two are measured. The cards' are what is asked of them, and not yet measured:
1 a component for another inverse DCT, which makes 1 + 1.772 of blue; and 11 for chroma repeated
instead of interpolated, which is what libjpeg-turbo itself shows when told to repeat it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One file: its pixels, or why it has none."""

    pixels: np.ndarray | Tensor | None
    """(H,W,C), C 1 or 3, uint8 or uint16, contiguous, nobody else's memory; None: unreadable."""
    path: str
    """Who decoded it: "CPU", "DALI mixed", or "CPU: progressive" where it had to step in."""
    reason: str = ""
    """Why it is unreadable, in one line without a file name: the words of `decode`."""


class Decoder(Protocol):
    """Bytes of image files to pixels. One caller at a time; threads are the decoder's own."""

    name: str
    """As in `AGREES`."""
    counts: Counter[str]
    """Files so far by path; unreadable ones under "unreadable" instead."""

    def decode_many(self, files: Sequence[bytes]) -> list[Decoded]:
        """Every file in order, as numpy arrays, or as tensors on the decoder's card.

        Gray stays gray, 16 bits stay 16 bits, EXIF orientation is ignored. A bad image is a
        `Decoded` with a reason. Raises MemoryError and DataError (a package is missing), and what
        CUDA says of itself: those are the machine's faults.
        """
        ...

    def close(self) -> None:
        """End the threads and give back what the card holds."""
        ...


def count(counts: Counter[str], done: Iterable[Decoded]) -> None:
    """Add each file once."""
    counts.update(UNREADABLE if one.pixels is None else one.path for one in done)
