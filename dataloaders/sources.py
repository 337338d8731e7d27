"""Reading what a manifest lists: bytes as they were listed, decoded in threads, in order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .decode import Unreadable, decode_frames
from .errors import DataError
from .manifest import Manifest
from .pack import DELETE_IT, Pack, pyramid


@dataclass
class Loaded:
    """One source file: its hash and either its levels or why there are none."""

    sha256: bytes
    levels: list[np.ndarray] = field(default_factory=list)
    reason: str = ""


def _load(manifest: Manifest, rows: range) -> list[Loaded]:
    """One file: `rows` are its frames, one after the other."""
    data = read_source(manifest, rows[0])
    digest = hashlib.sha256(data).digest()
    try:
        frames = decode_frames(data, manifest.window, manifest.allow_phi)
        if len(frames) != len(rows):
            raise Unreadable(f"{len(frames)} frames where the listing has {len(rows)}")
        return [Loaded(digest, pyramid(frame)) for frame in frames]
    except Unreadable as error:
        return [Loaded(digest, reason=str(error)) for _ in rows]


def read_source(manifest: Manifest, number: int) -> bytes:
    """The bytes of a file as it was listed.

    Raises DataError where it changed or the system will not read it: that is to be mended, and
    must not turn into a fact about the data set.
    """
    place = _place(manifest, number)
    try:
        with open(manifest.root / manifest.files[number], "rb") as file:
            stat = os.fstat(file.fileno())
            data = file.read()
    except OSError as error:
        raise DataError(
            f"an image in {place} cannot be opened: {error.strerror}; "
            "mend its permissions or the disk and start again"
        ) from None
    listed = (manifest.bytes[number], manifest.changed_ns[number])
    if (len(data), stat.st_mtime_ns) != listed:
        raise DataError(f"files in {place} changed while they were read; start again")
    return data


def _place(manifest: Manifest, number: int) -> Path:
    """The class folder of a file; its name, or a folder further in, may be a patient's."""
    return manifest.root / str(manifest.part[number]) / manifest.classes[manifest.label[number]]


def load_all(manifest: Manifest, threads: int) -> Generator[Loaded, None, None]:
    """Every row in manifest order, `threads` at work and at most 4 files per thread in memory."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[list[Loaded]]] = deque()
    try:
        for rows in manifest.rows_by_file():
            waiting.append(pool.submit(_load, manifest, rows))
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
                f"made from, though their names, sizes and times are; {DELETE_IT}"
            )


def spread(count: int, samples: int) -> list[int]:
    """Up to `samples` whole numbers from 0 to count - 1, evenly apart."""
    return np.unique(np.linspace(0, count - 1, samples).astype(int)).tolist() if count else []
