"""Reading what a manifest lists: bytes as they were listed, decoded in threads, in order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .decoders.contract import Decoder
from .decoders.decode import PIXELS, Unreadable, decode_frames
from .errors import DataError
from .light import even_out
from .manifest import Manifest
from .pack.checksum import crc32
from .pack.layout import Pack, pyramid, spread

BATCH = 64
"""Files that a batch decoder gets together."""
LARGEST = 6 * PIXELS + 2**20
"""Bytes of a file: 16-bit colour of the largest size that is taken, stored plainly."""
TOO_LARGE = f"the file is larger than {LARGEST:,} bytes"


@dataclass
class Loaded:
    """One source file: its hash and either its levels or why there are none."""

    sha256: bytes
    levels: list[np.ndarray] = field(default_factory=list)
    reason: str = ""
    crc32: int = 0
    """Of the levels' bytes, one after the other."""


def load(manifest: Manifest, number: int, side: int = 0) -> Loaded:
    """Read, decode, reduce to `side` (0: not at all) and halve one row."""
    (loaded,) = load_file(manifest, range(number, number + 1), side)
    return loaded


def load_file(manifest: Manifest, rows: range, side: int = 0) -> list[Loaded]:
    """The same for rows of one file, decoded once: its frames, one after the other."""
    if manifest.bytes[rows[0]] > LARGEST and not len(manifest.frame):
        return [Loaded(_hash_huge(manifest, rows[0]), reason=TOO_LARGE)]
    data = read_source(manifest, rows[0])
    digest = hashlib.sha256(data).digest()
    try:
        frames = decode_frames(data, manifest.window, manifest.allow_phi)
        places = manifest.frame[rows].tolist() if len(manifest.frame) else [0]
        if max(places) >= len(frames):
            raise Unreadable(f"{len(frames)} frames where the listing has more")
        even = [even_out(frames[place], manifest.flatfield) for place in places]
        return [prepare_levels(digest, pixels, side) for pixels in even]
    except Unreadable as error:
        return [Loaded(digest, reason=str(error)) for _ in rows]


def _hash_huge(manifest: Manifest, number: int) -> bytes:
    """A file that is not taken into memory still has a hash to be listed by."""
    try:
        with open(manifest.root / manifest.files[number], "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _cannot_open(manifest, number, error) from None


def _cannot_open(manifest: Manifest, number: int, error: OSError) -> DataError:
    return DataError(
        f"an image in {_place(manifest, number)} cannot be opened: {error.strerror}; "
        "mend its permissions or the disk and start again"
    )


def prepare_levels(digest: bytes, pixels: np.ndarray, side: int = 0) -> Loaded:
    """(H,W,C) -> what a pack stores of it."""
    if side:
        from ..kernels.shrink import shrink  # imports numba: not for a full-size pack

        pixels = shrink(pixels, side)
    loaded = Loaded(digest, pyramid(pixels))
    for level in loaded.levels:
        loaded.crc32 = crc32(np.ascontiguousarray(level), loaded.crc32)
    return loaded


def read_source(manifest: Manifest, number: int) -> bytes:
    """The bytes of a file as it was listed.

    Raises DataError where it changed or the system will not read it: that is to be mended, and
    must not turn into a fact about the data set.
    """
    try:
        with open(manifest.root / manifest.files[number], "rb", buffering=0) as file:
            stat = os.fstat(file.fileno())
            data = file.read()
    except OSError as error:
        raise _cannot_open(manifest, number, error) from None
    listed = (manifest.bytes[number], manifest.changed_ns[number])
    if (len(data), stat.st_mtime_ns) != listed:
        place = _place(manifest, number)
        raise DataError(f"files in {place} changed while they were read; start again")
    return data


def _place(manifest: Manifest, number: int) -> Path:
    """The class folder of a file; its name, or a folder further in, may be a patient's."""
    return manifest.root / str(manifest.part[number]) / manifest.classes[manifest.label[number]]


def load_together(
    manifest: Manifest, rows: Sequence[int], side: int, decoder: Decoder
) -> list[Loaded]:
    """Rows that are files of their own, decoded as one batch; their order is kept."""
    if manifest.bytes[list(rows)].max() > LARGEST:
        return [load(manifest, row, side) for row in rows]
    files = [read_source(manifest, row) for row in rows]
    loaded = []
    for data, one in zip(files, decoder.decode_many(files), strict=True):
        digest = hashlib.sha256(data).digest()
        if one.pixels is None:
            loaded.append(Loaded(digest, reason=one.reason))
        else:
            pixels = one.pixels if isinstance(one.pixels, np.ndarray) else one.pixels.cpu().numpy()
            loaded.append(_prepare_even(digest, pixels, side, manifest.flatfield))
    return loaded


def _prepare_even(digest: bytes, pixels: np.ndarray, side: int, flatfield: bool) -> Loaded:
    try:
        return prepare_levels(digest, even_out(pixels, flatfield), side)
    except Unreadable as error:
        return Loaded(digest, reason=str(error))


def load_all(
    manifest: Manifest,
    threads: int,
    side: int = 0,
    first: int = 0,
    decoder: Decoder | None = None,
) -> Generator[Loaded, None, None]:
    """Rows from `first` on in manifest order, `threads` at work, at most 4 files each in memory.

    A `decoder` gets BATCH files at a time; files of several frames are not for it.
    """
    if decoder is not None and not len(manifest.frame):
        for begin in range(first, len(manifest), BATCH):
            rows = range(begin, min(begin + BATCH, len(manifest)))
            yield from load_together(manifest, rows, side, decoder)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[list[Loaded]]] = deque()
    try:
        for rows in manifest.rows_by_file(first):
            waiting.append(pool.submit(load_file, manifest, rows, side))
            if len(waiting) >= 4 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def check_sources(manifest: Manifest, pack: Pack, samples: int = 16) -> None:
    """Read a few files again: names, sizes and times may stay while contents change.

    Raises DataError where one is not what the pack was made from.
    """
    for number in spread(len(manifest), samples):
        if hashlib.sha256(read_source(manifest, number)).digest() != pack.sha256[number].tobytes():
            raise DataError(
                f"files in {_place(manifest, number)} are not those that pack {pack.folder} was "
                "made from, though their names, sizes and times are; bring them back, or "
                f"`foveate data pack rm {pack.folder.name}` to pack what is there now"
            )
