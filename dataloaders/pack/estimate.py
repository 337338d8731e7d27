"""What a pack will take, from a few of its images: bytes of the disk, seconds of a thread."""

from __future__ import annotations

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...kernels.shrink import shrunk
from ..decoders.decode import Unreadable, decode_frames
from ..decoders.header import jpeg_header
from ..light import even_out
from ..manifest import Manifest
from ..sources import prepare_levels
from .layout import halvings, spread

HEAD = 65_536
"""Bytes of a file in which a JPEG's header is looked for."""
DENSEST = 64
"""Pixels a byte that a header is believed; scans have 8. A false one could refuse a pack."""


def measure_images(
    manifest: Manifest, side: int = 0, samples: int = 32, threads: int = 1
) -> list[tuple[int, float]]:
    """(bytes with all levels, seconds of one thread) of a few images, of those that can be read."""
    numbers = spread(len(manifest), samples)
    with ThreadPoolExecutor(threads, thread_name_prefix="measure") as pool:
        found = list(pool.map(functools.partial(_measure, manifest, side), numbers))
    return [one for one in found if one]


def _measure(manifest: Manifest, side: int, number: int) -> tuple[int, float] | None:
    began = time.perf_counter()
    try:
        data = (manifest.root / manifest.files[number]).read_bytes()
        pixels = decode_frames(data, manifest.window, manifest.allow_phi)[0]
        pixels = even_out(pixels, manifest.flatfield)
    except (Unreadable, OSError):  # whoever reads them all will say so
        return None
    size = sum(level.nbytes for level in prepare_levels(b"", pixels, side).levels)
    return size, time.perf_counter() - began


def estimate_bytes(manifest: Manifest, side: int = 0, samples: int = 32, threads: int = 1) -> int:
    """About how large the pack will be, from the sizes of a few images.

    Of a JPEG the header is read: decoding 32 scans took 4 % of a first epoch of 512.
    """
    numbers = spread(len(manifest), samples)
    with ThreadPoolExecutor(threads, thread_name_prefix="measure") as pool:
        found = pool.map(functools.partial(_stored_bytes, manifest, side), numbers)
        return int(np.mean([size for size in found if size] or [0]) * len(manifest))


def _stored_bytes(manifest: Manifest, side: int, number: int) -> int:
    """Of one image with all levels; 0 where it cannot be read."""
    try:
        with open(manifest.root / manifest.files[number], "rb") as file:
            header = jpeg_header(file.read(HEAD))
    except OSError:
        return 0
    except ValueError:  # no JPEG, or one with a long header
        return (_measure(manifest, side, number) or (0, 0.0))[0]
    height, width = header.height, header.width
    if not 0 < height * width <= DENSEST * manifest.bytes[number]:  # the header may be damaged
        return (_measure(manifest, side, number) or (0, 0.0))[0]
    channels = 1 if len(header.components) == 1 else 3
    if side:
        height, width = shrunk(height, width, side)
    return channels * sum(h * w for h, w in halvings(height, width))
