"""Building a pack: decode in threads, write in order, appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .decode import Unreadable, decode_frames
from .errors import DataError, StorageError
from .manifest import Manifest
from .pack import FORMAT, LEVELS, PADDING, Pack, hash_content, hash_index, open_pack, pyramid
from .sources import Loaded, check_sources, load_all, spread

HEADER = 128  # bytes kept free at the front of pixels.npy until its length is known
LOG = logging.getLogger("foveate")
Progress = Callable[[int, int], None]


def find_or_build(
    manifest: Manifest, cache: Path, threads: int, progress: Progress | None = None
) -> Pack:
    """The pack of a manifest: opened where it lies in `cache`, else built there first.

    One process builds, others wait; `progress(done, images)` is called by the one that builds. A
    kill leaves nothing that could be taken for a pack. Raises StorageError on a full, read-only
    or damaged cache, DataError where source files changed or 8 and 16 bits are mixed.
    """
    folder = cache / "packs" / manifest.listing_sha256[:32]
    if not _is_whole(folder):
        try:
            with _alone(folder):
                if not _is_whole(folder):
                    _build(manifest, folder, threads, progress)
        except OSError as error:
            raise StorageError(
                f"cannot write pack {folder}: {error.strerror or error}; "
                "free space or set FOVEATE_CACHE to a folder with room that can be written"
            ) from None
    pack = open_pack(folder)
    check_sources(manifest, pack)
    return pack


def pack_arrays(images: Sequence[np.ndarray]) -> Pack:
    """(H,W,C) arrays of one dtype -> a pack in memory, with the same levels as one on disk.

    Raises DataError where uint8 and uint16 are mixed.
    """
    file = io.BytesIO()
    writer = _Writer(len(images), file)
    for number, pixels in enumerate(images):
        writer.add(number, Loaded(hashlib.sha256(pixels.tobytes()).digest(), pyramid(pixels)))
    writer.close()
    pixels = np.frombuffer(file.getbuffer(), writer.dtype, offset=HEADER)
    return Pack(Path(), pixels, writer.start, writer.shape, writer.sha256, "", {})


def estimate_bytes(manifest: Manifest, samples: int = 32) -> int:
    """About how large the pack will be, from the decoded size of a few images."""
    sizes = []
    for number in spread(len(manifest), samples):
        try:
            data = (manifest.root / manifest.files[number]).read_bytes()
            frames = decode_frames(data, manifest.window, manifest.allow_phi)
            sizes.append(sum(frame.nbytes for frame in frames) / len(frames))
        except (Unreadable, OSError):
            continue
    return int(np.mean(sizes or [0]) * len(manifest) * 4 / 3)


def _is_whole(folder: Path) -> bool:
    return os.path.exists(folder / "pack.json")  # it appears with the folder, by a rename


def _beside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".building")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the pack's lock; the system drops it when the process dies, however it dies.

    The lock file stays: removing it would let two processes hold locks of one name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.info("another process builds pack %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(manifest: Manifest, folder: Path, threads: int, progress: Progress | None) -> None:
    """Write beside, sync, rename. The lock is held; what a killed builder left is removed."""
    needed, free = estimate_bytes(manifest), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise StorageError(
            f"the pack needs about {needed / 1e9:.1f} GB and {folder.parent} has {free / 1e9:.1f} "
            "GB free; free space or set FOVEATE_CACHE to a larger disk"
        )
    work = _beside(folder)
    for rest in (work, folder):  # a folder without pack.json: somebody's rm -r was interrupted
        shutil.rmtree(rest, ignore_errors=True)
    try:
        work.mkdir(0o700)  # pixels of patients
        _write(manifest, work, threads, progress)
        work.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _write(manifest: Manifest, work: Path, threads: int, progress: Progress | None) -> None:
    loading = closing(load_all(manifest, threads))
    with loading as images, open(work / "pixels.npy", "wb") as file:
        writer = _Writer(len(manifest), file)
        for number, loaded in enumerate(images):
            writer.add(number, loaded)
            if progress:
                progress(number + 1, len(manifest))
        writer.close()
    index: list[np.ndarray] = [writer.start, writer.shape, writer.sha256]
    for name, array in zip(("start", "shape", "sha256"), index, strict=True):
        np.save(work / f"{name}.npy", array)
    facts = {
        "format": FORMAT,
        "content_sha256": hash_content(manifest.files, writer.sha256),
        "index_sha256": hash_index(*index),
        "elements": writer.elements,
        "unreadable": writer.unreadable,
    }
    (work / "unreadable.json").touch(0o600)  # file names may hold patient ids
    (work / "unreadable.json").write_text(json.dumps(_name(manifest, writer), indent=1))
    (work / "pack.json").write_text(json.dumps(facts))
    for path in (*work.iterdir(), work):
        _sync(path)


def _name(manifest: Manifest, writer: _Writer) -> list[dict[str, str]]:
    """The quarantine list with file names; it never leaves the cache."""
    return [
        {"file": manifest.files[n], "sha256": writer.sha256[n].tobytes().hex(), "reason": reason}
        for n, reason in writer.unreadable.items()
    ]


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Writer:
    """Appends images to pixels.npy and remembers where each level went."""

    def __init__(self, count: int, file: BinaryIO) -> None:
        self.file, self.elements = file, 0
        self.dtype: np.dtype | None = None
        self.start = np.full((count, LEVELS), -1, np.int64)
        self.shape = np.zeros((count, LEVELS, 3), np.int32)
        self.sha256 = np.zeros((count, 32), np.uint8)
        self.unreadable: dict[int, str] = {}
        file.write(b"\0" * HEADER)

    def add(self, number: int, loaded: Loaded) -> None:
        self.sha256[number] = np.frombuffer(loaded.sha256, np.uint8)
        if not loaded.levels:
            self.unreadable[number] = loaded.reason
        for level, pixels in enumerate(loaded.levels):
            self._check_depth(number, pixels.dtype)
            self.start[number, level] = self.elements
            self.shape[number, level] = pixels.shape
            self.file.write(np.ascontiguousarray(pixels).data)
            self.elements += pixels.size

    def close(self) -> None:
        """Write the padding, then the .npy header: magic, version 1.0, a dictionary."""
        dtype = self.dtype or np.dtype(np.uint8)
        self.file.write(b"\0" * PADDING * dtype.itemsize)
        self.elements += PADDING
        text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({self.elements},), }}"
        length = HEADER - 10
        self.file.seek(0)
        self.file.write(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little"))
        self.file.write(text.ljust(length - 1).encode() + b"\n")

    def _check_depth(self, number: int, dtype: np.dtype) -> None:
        self.dtype = self.dtype or dtype
        if dtype != self.dtype:
            raise DataError(
                f"the data set mixes {self.dtype} and {dtype} images (by name, image {number + 1} "
                "is the first that differs); convert one kind, or keep them in two folders"
            )
