"""Building a pack: decode in threads, write in order, go on after a kill, appear whole or not."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..decoders.contract import AGREES, Decoder
from ..decoders.decode import Unreadable, decode_frames
from ..durable import sync as _sync
from ..errors import DataError, StorageError
from ..light import even_out
from ..manifest import Manifest
from ..sources import check_sources, load_all, prepare_levels
from .layout import FORMAT, INDEX, Damaged, Pack, hash_content, hash_index, open_pack, spread
from .writer import HEADER, MixedDepth, Writer

LOG = logging.getLogger("foveate")
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


def find_or_build(
    manifest: Manifest,
    cache: Path,
    threads: int,
    progress: Progress | None = None,
    *,
    side: int = 0,
    say: Say = LOG.info,
    decoder: Decoder | None = None,
) -> Pack:
    """The pack of a manifest: opened where it lies in `cache`, else built there first.

    `side` > 0 stores images with their shorter side reduced to so many pixels; a `decoder` decodes
    in batches what threads would decode one by one. One process
    builds, others wait; `progress(done, images)` is called by the one that builds, `say` tells
    what it will cost. A killed build leaves nothing that could be taken for a pack, and the next
    goes on from it; a damaged pack is built again. Raises StorageError on a full or read-only
    cache, DataError where source files changed or 8 and 16 bits are mixed.
    """
    folder = pack_folder(manifest, cache, side, decoder.name if decoder else "")
    work = _Work(manifest, folder, side, threads, progress, say, decoder)
    try:
        pack = _open(folder, lambda why: None)  # why it is built again is said once, by the builder
        if pack is None:
            with alone(folder):
                pack = _open(folder, say) or _build(work)
    except ConnectionError:  # of whoever listens to `say` and `progress`, as `| head` ends
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write pack {folder}: {error.strerror or error}; "
            "free space or set FOVEATE_CACHE to a folder with room that can be written"
        ) from None
    check_sources(manifest, pack)
    return pack


def pack_folder(manifest: Manifest, cache: Path, side: int = 0, decoder: str = "") -> Path:
    """Where the pack of a listing lies: files of other names, sizes or times have another, and so
    has what a card decoded, whose pixels are a level off here and there."""
    reduced = f"-{side}px" if side else ""
    differs = any(most for most, _ in AGREES[decoder].values()) if decoder else False
    by = f"-{decoder.lower().replace(' ', '-')}" if differs else ""
    return cache / "packs" / (manifest.listing_sha256[:32] + reduced + by)


def pack_arrays(images: Sequence[np.ndarray], side: int = 0) -> Pack:
    """(H,W,C) arrays of one dtype -> a pack in memory, as `find_or_build` makes one on disk.

    Raises DataError where uint8 and uint16 are mixed.
    """
    file = io.BytesIO()
    writer = Writer(len(images), file)
    for pixels in images:
        writer.add(prepare_levels(hashlib.sha256(pixels.tobytes()).digest(), pixels, side))
    writer.close()
    pixels = np.frombuffer(file.getbuffer(), writer.dtype, offset=HEADER)
    return Pack(Path(), pixels, writer.start, writer.shape, writer.sha256, "", {}, writer.crc32)


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
    """About how large the pack will be, from the decoded size of a few images."""
    sizes = [size for size, _ in measure_images(manifest, side, samples, threads)]
    return int(np.mean(sizes or [0]) * len(manifest))


def unfinished(folder: Path) -> Path:
    """Where a pack is while it is built."""
    return folder.with_name(folder.name + ".building")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
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


def _open(folder: Path, say: Say) -> Pack | None:
    """The pack if it is there and whole; says why where it is to be built again."""
    if not os.path.exists(folder / "pack.json"):  # it appears with the folder, by a rename
        return None
    try:
        return open_pack(folder)
    except Damaged as error:
        said = str(error).partition(";")[0]
        say(f"{said}: building it again")
        return None


@dataclass(frozen=True)
class _Work:
    """What is to be built, where, and how."""

    manifest: Manifest
    folder: Path
    side: int
    threads: int
    progress: Progress | None
    say: Say
    decoder: Decoder | None


def _build(work: _Work) -> Pack:
    """Write beside, sync, rename. The lock is held."""
    beside = unfinished(work.folder)
    _state_cost(work, beside)
    beside.mkdir(0o700, exist_ok=True)  # pixels of patients
    try:
        _write(work, beside)
        shutil.rmtree(work.folder, ignore_errors=True)  # damaged, or half removed
        (beside / "journal.jsonl").unlink(missing_ok=True)  # last: without it all is built again
        beside.rename(work.folder)
        _sync(work.folder.parent)
    except ConnectionError:
        raise
    except (OSError, MixedDepth):  # a full disk gets its room back; a kill keeps the work
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return open_pack(work.folder)


def _state_cost(work: _Work, beside: Path) -> None:
    """Say what the pack will take; raises StorageError where the disk has less."""
    shelf, side, images = work.folder.parent, work.side, len(work.manifest)
    needed = estimate_bytes(work.manifest, side, threads=work.threads)
    free = shutil.disk_usage(shelf).free
    there = beside / "pixels.npy"
    missing = needed - (there.stat().st_size if there.exists() else 0)
    if missing > free:
        raise StorageError(
            f"the pack needs about {needed / 1e9:.1f} GB and {shelf} has {free / 1e9:.1f} "
            f"GB free; free space, set FOVEATE_CACHE to a larger disk, or store images smaller: "
            "--data.reduce SIDE"
        )
    work.say(
        f"the pack will take about {show_size(needed)} of the {show_size(free)} free in {shelf}: "
        f"{images:,} images" + (f" with a shorter side of {side} px" if side else "")
    )


def _write(work: _Work, beside: Path) -> None:
    manifest = work.manifest
    (beside / "pixels.npy").touch()
    with open(beside / "pixels.npy", "r+b") as file:
        writer = _take_up(manifest, file, beside, work.say)
        loading = load_all(manifest, work.threads, work.side, writer.done, work.decoder)
        with closing(loading) as images:
            try:
                for loaded in images:
                    writer.add(loaded)
                    if work.progress:
                        work.progress(writer.done, len(manifest))
            except (
                DataError,
                KeyboardInterrupt,
                ConnectionError,
            ):  # mended or asked for again, it goes on here
                writer.sync()
                raise
        writer.close()
    _write_index(manifest, beside, writer, work.side)
    for path in (*beside.iterdir(), beside):
        _sync(path)


def _take_up(manifest: Manifest, file: io.BufferedRandom, work: Path, say: Say) -> Writer:
    """A writer after what an earlier process wrote, if that can be read, else at the beginning."""
    try:
        writer = Writer(len(manifest), file, work / "journal.jsonl")
        done = writer.go_on()
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        (work / "journal.jsonl").unlink(missing_ok=True)
        file.seek(0)
        file.truncate(0)
        return Writer(len(manifest), file, work / "journal.jsonl")
    if done:
        say(f"going on with the pack after {done:,} of {len(manifest):,} images")
    return writer


def _write_index(manifest: Manifest, work: Path, writer: Writer, side: int) -> None:
    index = [getattr(writer, name) for name in INDEX]
    for name, array in zip(INDEX, index, strict=True):
        np.save(work / f"{name}.npy", array)
    facts = {
        "format": FORMAT,
        "content_sha256": hash_content(manifest.files, writer.sha256),
        "index_sha256": hash_index(*index),
        "elements": writer.elements,
        "side": side,
        "source": str(manifest.root),
        "unreadable": writer.unreadable,
    }
    (work / "unreadable.json").touch(0o600)  # file names may hold patient ids
    (work / "unreadable.json").write_text(json.dumps(_name(manifest, writer), indent=1))
    (work / "pack.json").write_text(json.dumps(facts))


def _name(manifest: Manifest, writer: Writer) -> list[dict[str, str]]:
    """The quarantine list with file names; it never leaves the cache."""
    return [
        {"file": manifest.files[n], "sha256": writer.sha256[n].tobytes().hex(), "reason": reason}
        for n, reason in writer.unreadable.items()
    ]


def show_size(count: float) -> str:
    """Bytes for a person: "1.2 GB", "802 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
