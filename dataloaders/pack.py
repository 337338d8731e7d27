"""Decode once: raw pixels of a whole data set in one memory-mapped file, with a mip pyramid.

After the pack is built nothing decodes any more. Each image is stored at full size followed by
its 2x2-box levels (a third more bytes), so that a strong shrink reads few of them.

Legend: M files of the manifest, L levels, B elements.

    <pack>/pixels.npy   (B,) uint8 or uint16, plus 8 of padding
           start.npy    (M,L) int64    where a level begins; -1 where there is none
           shape.npy    (M,L,3) int32  its height, width, channels
           sha256.npy   (M,32) uint8   of every source file
           pack.json    format, hashes, numbers of what could not be read and why
           unreadable.json  the same with file names, which may hold patient ids: for you only
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import StorageError

FORMAT = 1
LEVELS = 6
PADDING = 8  # a kernel may load a whole word at the last pixel
DELETE_IT = "delete that folder, it is rebuilt"


@dataclass(frozen=True)
class Pack:
    """An opened pack. Arrays are as the module's docstring lists them."""

    folder: Path
    pixels: np.ndarray
    start: np.ndarray
    shape: np.ndarray
    sha256: np.ndarray
    content_sha256: str
    """Hash over file names and contents: the identity of the data, wherever it lies."""
    unreadable: dict[int, str]
    """Manifest number -> reason."""

    @cached_property
    def levels(self) -> np.ndarray:
        """(M,) int64: how many levels each image has; 0 where it could not be read."""
        return (self.start >= 0).sum(1)


def open_pack(folder: Path) -> Pack:
    """Open a finished pack, checked. Raises StorageError where it is damaged or too new.

    Sizes and the index are checked, not the pixels: hashing 4 GB would cost every start seconds.
    """
    try:
        facts = json.loads((folder / "pack.json").read_text())
        if facts["format"] > FORMAT:
            raise StorageError(
                f"pack {folder} is of format {facts['format']}, this version reads {FORMAT}; "
                "upgrade foveate or set FOVEATE_CACHE to another folder"
            )
        start, shape, sha256 = (np.load(folder / f"{n}.npy") for n in ("start", "shape", "sha256"))
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")  # "c": torch wants it writable
        bad = {int(number): str(reason) for number, reason in facts["unreadable"].items()}
        whole = hash_index(start, shape, sha256) == facts["index_sha256"]
        whole &= len(pixels) == facts["elements"]
        content = str(facts["content_sha256"])
    except StorageError:
        raise
    except Exception as error:  # numpy and json raise six kinds on damaged files
        said = " ".join(str(error).split())[:200]
        raise StorageError(f"pack {folder} cannot be read ({said}); {DELETE_IT}") from None
    if not whole:
        raise StorageError(f"pack {folder} is damaged; {DELETE_IT}")
    return Pack(folder, pixels, start, shape, sha256, content, bad)


def hash_index(*arrays: np.ndarray) -> str:
    """sha256 of the arrays that say where everything is: a wrong one reads wrong pixels."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_content(files: Sequence[str], sha256: np.ndarray) -> str:
    """sha256 over every file's name and own hash, in manifest order: (M,) str, (M,32) uint8.

    Labels are no part of it: names hold the class folder, and recipes may order classes as they
    like and still share a pack.
    """
    digest = hashlib.sha256()
    for name, own in zip(files, sha256, strict=True):
        digest.update(name.encode(errors="surrogateescape") + b"\0" + own.tobytes())
    return digest.hexdigest()


def pyramid(pixels: np.ndarray) -> list[np.ndarray]:
    """(H,W,C) uint8 or uint16 -> itself and its halves, each the mean of 2x2 boxes, half up.

    An odd edge is a box of what is there, so level k's pixel x covers source x*2^k on. Halving
    ends where a side falls under 64: no output is smaller than 32.
    """
    levels = [pixels]
    while len(levels) < LEVELS and min(levels[-1].shape[:2]) >= 128:
        levels.append(_halve(levels[-1]))
    return levels


def _halve(pixels: np.ndarray) -> np.ndarray:
    height, width, channels = pixels.shape
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    rows: np.ndarray = pixels[0::2].astype(np.uint32 if pixels.dtype == np.uint16 else np.uint16)
    rows += pixels[1::2]
    half = np.empty((rows.shape[0], rows.shape[1] // 2, channels), pixels.dtype)
    for channel in range(channels):  # one at a time: 3 times as fast as loops of length 3
        four = rows[:, 0::2, channel] + rows[:, 1::2, channel]
        half[:, :, channel] = (four + 2) >> 2
    return half
