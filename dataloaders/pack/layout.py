"""Decode once: raw pixels of a whole data set in one memory-mapped file, with a mip pyramid.

After the pack is built nothing decodes any more. Each image is stored at full size, or with its
shorter side reduced to `side` pixels, followed by its 2x2-box levels (a third more bytes), so that
a strong shrink reads few of them.

Legend: M files of the manifest, L levels, B elements.

    <pack>/pixels.npy   (B,) uint8 or uint16, plus 8 of padding
           start.npy    (M,L) int64    where a level begins; -1 where there is none
           shape.npy    (M,L,3) int32  its height, width, channels
           sha256.npy   (M,32) uint8   of every source file
           crc32.npy    (M,) uint32    of every image's stored levels
           pack.json    format, hashes, source folder, numbers of what could not be read and why
           unreadable.json  the same with file names, which may hold patient ids: for you only
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ...kernels.halve import halve
from ..errors import StorageError
from .checksum import crc32

FORMAT = 2
"""2: crc32.npy and `side`. A pack of format 1 is built again."""
LEVELS = 6
PADDING = 8  # a kernel may load a whole word at the last pixel
DELETE_IT = "`foveate data pack rm` removes it, and the next run builds it again"


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
    crc32: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    side: int = 0
    """Shorter side that images were reduced to; 0: full size."""

    @cached_property
    def levels(self) -> np.ndarray:
        """(M,) int64: how many levels each image has; 0 where it could not be read."""
        return (self.start >= 0).sum(1)


class Damaged(StorageError):
    """What lies where a pack should be is none, or not a whole one: it can be built again."""


INDEX = ("start", "shape", "sha256", "crc32")


def open_pack(folder: Path, samples: int = 16) -> Pack:
    """Open a finished pack, checked. Raises Damaged, and StorageError where it is too
    new or the system does not open its files (too many are open, a disk is away).

    Sizes, the index and the pixels of `samples` images are checked (`find_damage` looks at all):
    hashing 4 GB would cost every start seconds.
    """
    try:
        facts = json.loads((folder / "pack.json").read_text())
        if facts["format"] != FORMAT:
            raise _wrong_format(folder, int(facts["format"]))
        start, shape, sha256, crc32 = (np.load(folder / f"{name}.npy") for name in INDEX)
        # Never writable: Linux takes no private map larger than memory, even one that is only read.
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        bad = {int(number): str(reason) for number, reason in facts["unreadable"].items()}
        whole = hash_index(start, shape, sha256, crc32) == facts["index_sha256"]
        whole &= len(pixels) == facts["elements"]
        content, side = str(facts["content_sha256"]), int(facts["side"])
    except StorageError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            raise Damaged(f"pack {folder} lacks a file; {DELETE_IT}") from None
        raise StorageError(  # of the system, not of the pack: it must not cost the pack
            f"pack {folder} cannot be opened: {error.strerror or error}; "
            "mend that and start again, the pack is left as it is"
        ) from None
    except Exception as error:  # numpy and json raise six kinds on damaged files
        said = " ".join(str(error).split())[:200]
        raise Damaged(f"pack {folder} cannot be read ({said}); {DELETE_IT}") from None
    pack = Pack(folder, pixels, start, shape, sha256, content, bad, crc32, side)
    if not whole or len(find_damage(pack, spread(len(start), samples))):
        raise Damaged(f"pack {folder} is damaged; {DELETE_IT}")
    return pack


def is_whole(folder: Path) -> bool:
    """Whether a pack of this format is there, by its facts alone."""
    try:
        return bool(json.loads((folder / "pack.json").read_text())["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _wrong_format(folder: Path, found: int) -> StorageError:
    if found < FORMAT:
        return Damaged(f"pack {folder} is of format {found}, from an earlier version; {DELETE_IT}")
    return StorageError(
        f"pack {folder} is of format {found}, this version reads {FORMAT}; "
        "upgrade foveate or set FOVEATE_CACHE to another folder"
    )


def find_damage(pack: Pack, numbers: Iterable[int]) -> list[int]:
    """Which of these images are not stored as they were written."""
    return [n for n in numbers if crc32(_stored(pack, n)) != pack.crc32[n]]


def _stored(pack: Pack, number: int) -> np.ndarray:
    """(b,) every level of one image: they lie one after the other."""
    if pack.start[number, 0] < 0:
        return pack.pixels[:0]
    first, sizes = pack.start[number, 0], pack.shape[number].prod(axis=1, dtype=np.int64)
    return pack.pixels[first : first + sizes.sum()]


def spread(count: int, samples: int) -> list[int]:
    """Up to `samples` whole numbers from 0 to count - 1, evenly apart."""
    return np.unique(np.linspace(0, count - 1, samples).astype(int)).tolist() if count else []


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
    for _ in halvings(*pixels.shape[:2])[1:]:
        levels.append(halve(levels[-1]))
    return levels


def halvings(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each level of an image of that size."""
    sizes = [(height, width)]
    while len(sizes) < LEVELS and min(sizes[-1]) >= 128:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes
