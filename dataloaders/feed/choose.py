"""Which feed a run gets, and why, in words: from sizes, memory and a short measurement."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..manifest import Manifest
from ..pack.build import pack_folder, show_size, unfinished
from ..pack.estimate import measure_images
from ..pack.layout import is_whole

MEMORY_SHARE = 0.6
"""Of a device's memory, for a resident pack: model, optimizer and activations want theirs."""
STREAM_SHARE = 0.05
"""Of the host's memory, for what a stream decodes ahead, in each of its queues."""
DISK_SHARE = 0.9
"""Of the free disk, for a pack."""


@dataclass(frozen=True)
class Survey:
    """What a data set would cost, measured on a few of its images."""

    images: int
    pack_bytes: int
    """With the mip levels; exact where the pack is there."""
    is_packed: bool
    disk_free: int
    """Bytes for a pack, with those that an unfinished one has taken already."""
    image_s: float
    """Seconds of one thread to read, decode, reduce and halve an image; 0 where nothing was."""


def survey(
    manifest: Manifest, cache: Path, side: int = 0, decoder: str = "", samples: int = 32
) -> Survey:
    """Look at the disk, and load `samples` images to see what one takes."""
    folder = pack_folder(manifest, cache, side, decoder)
    place = folder if folder.exists() else cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if is_whole(folder):
        size = (folder / "pixels.npy").stat().st_size
        return Survey(len(manifest), size, True, free, 0.0)
    begun = unfinished(folder) / "pixels.npy"
    free += begun.stat().st_size if begun.exists() else 0  # of the pack's own bytes
    measured = measure_images(manifest, side, samples)
    size = int(np.mean([size for size, _ in measured] or [0]) * len(manifest))
    image_s = float(np.median([spent for _, spent in measured] or [0.0]))
    return Survey(len(manifest), size, False, free, image_s)


def choose_feed(
    asked: str, found: Survey, *, threads: int, memory: int, card: int = 0
) -> tuple[str, str]:
    """(pack, resident or stream; why).

    `memory` is the host's in bytes; `card` that of the GPU whose kernels cut the images, or 0.
    Raises DataError where what was asked for does not fit.
    """
    size, free = show_size(found.pack_bytes), show_size(found.disk_free)
    fits_memory = found.pack_bytes <= MEMORY_SHARE * (card or memory)
    fits_disk = found.is_packed or found.pack_bytes <= DISK_SHARE * found.disk_free
    if asked == "resident" and not fits_memory:
        raise DataError(
            f"data.feed is resident, and {size} of pixels do not fit {MEMORY_SHARE:.0%} of "
            f"{show_size(card or memory)} of memory; give --data.feed pack, or a smaller "
            "--data.reduce"
        )
    if asked != "auto":
        return asked, "asked for"
    rate = f"{threads / max(found.image_s, 1e-6):,.0f} images/s with {threads} threads"
    if not fits_disk:
        return "stream", (
            f"a pack would take {size} and {free} are free: files are decoded in every epoch, "
            f"at about {rate}, {show_size(STREAM_SHARE * memory)} ahead of use at most, and "
            "damage is found on the way (`foveate data verify` finds it before); --data.reduce "
            "makes a pack smaller"
        )
    if card and fits_memory:
        return "resident", f"{size} of decoded pixels fit in {show_size(card)} of device memory"
    why = f"{size} of decoded pixels, memory-mapped"
    why += "; they lie in the cache already" if found.is_packed else f"; decoded once, at {rate}"
    if found.pack_bytes > memory:
        why += "; larger than memory: --data.shuffle-window 20000 would read it in runs"
    return "pack", why
