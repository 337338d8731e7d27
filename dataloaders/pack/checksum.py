"""The CRC-32 of stored pixels: zlib's numbers, by whatever computes them fastest here.

imagecodecs brings zlib-ng, which takes 9 us for a full-size scan with its levels where Python's
zlib takes 77.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any


def crc32(data: Any, before: int = 0) -> int:
    """Contiguous bytes or array -> the same as `zlib.crc32(data, before)`."""
    return _quickest()(data, before)


@functools.cache
def _quickest() -> Callable[[Any, int], int]:
    try:
        import imagecodecs

        imagecodecs.zlibng_crc32(b"")  # a build may lack it, which shows when it is called
    except (ImportError, AttributeError):
        return zlib.crc32
    quick: Callable[[Any, int], int] = imagecodecs.zlibng_crc32
    return quick
