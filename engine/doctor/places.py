"""Places: the cache, the run folders, temporary files, shared memory; limits and the clock."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .finding import STORAGE, Finding

TIGHT, FULL = 10e9, 100e6
"""Bytes free that a run may soon use up, and that no run gets by with."""
SHM = 1 << 30
SKEW_S, SLOW_S = 5.0, 1.0
LIMITS = (
    ("open files", resource.RLIMIT_NOFILE, 1024),
    ("processes", resource.RLIMIT_NPROC, 1024),
    ("locked memory", resource.RLIMIT_MEMLOCK, 0),
    ("file size", resource.RLIMIT_FSIZE, resource.RLIM_INFINITY),
    ("address space", resource.RLIMIT_AS, resource.RLIM_INFINITY),
)
"""What is limited, its number, and the least that raises no warning."""


def check_places(cache: Path, runs: Path) -> list[Finding]:
    """Room and rights where runs write."""
    temporary = Path(tempfile.gettempdir())
    places = (("cache", cache), ("runs", runs), ("temporary", temporary))
    return [check_place(name, path) for name, path in places]


def check_place(name: str, path: Path) -> Finding:
    """Free space, and a file written, synced, locked, mapped, renamed and read back there.

    Nothing is left behind; a folder that is not there yet is not made, its parent is tried.
    """
    if path.parts[:1] == ("~",):
        said = f"{path}: there is no home folder"
        return Finding("bad", name, said, _way_out(name), STORAGE)
    tried = path.absolute()
    while not os.path.lexists(tried) and tried != tried.parent:
        tried = tried.parent
    where = f"{path}" if tried == path.absolute() else f"{path} (to be made)"
    try:
        free = shutil.disk_usage(tried).free
        seconds, skew = exercise(tried)
    except OSError as error:
        said = f"{where}: {error.strerror or error}"
        return Finding("bad", name, said, _way_out(name), STORAGE)
    said = f"{where}: {free / 1e9:,.1f} GB free, written and synced in {1000 * seconds:.0f} ms"
    if free < FULL:
        return Finding("bad", name, f"{where}: {free / 1e6:.0f} MB free", _way_out(name), STORAGE)
    if abs(skew) > SKEW_S:
        return Finding("warn", name, f"{said}; its clock is {skew:+.0f} s from this machine's")
    if free < TIGHT:
        return Finding("warn", name, f"{said}: little room", _way_out(name))
    slow = seconds > SLOW_S
    return Finding("warn" if slow else "ok", name, said + (": slow checkpoints" if slow else ""))


def exercise(folder: Path) -> tuple[float, float]:
    """(seconds of one durable write, the disk's clock minus ours); OSError where it fails."""
    with tempfile.TemporaryDirectory(prefix=".foveate-doctor-", dir=folder) as inside:
        first, last = Path(inside) / "written", Path(inside) / "renamed"
        data = os.urandom(1 << 16)
        began, now = time.perf_counter(), time.time()
        with open(first, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                same = view[:] == data
        first.rename(last)
        seconds = time.perf_counter() - began
        if not same or last.read_bytes() != data:
            raise OSError("what is read there is not what was written")
        return seconds, last.stat().st_mtime - now


def _way_out(name: str) -> str:
    ways = {
        "cache": "--cache DIR or FOVEATE_CACHE",
        "runs": "train --out DIR",
        "temporary": "TMPDIR",
    }
    return f"free space, mend its permissions, or another place: {ways[name]}"


def check_shared_memory(path: Path = Path("/dev/shm")) -> Finding:
    """Size and use of /dev/shm: NCCL's GPUs of one machine talk through it."""
    try:
        room = shutil.disk_usage(path)
    except OSError:
        return Finding("note", "shared memory", f"there is no {path}")
    said = f"{path}: {room.total / 1e9:.2f} GB, {room.used / 1e9:.2f} GB in use"
    if room.total < SHM:
        more = "docker run --shm-size=8g, or an emptyDir of medium Memory"
        return Finding("warn", "shared memory", f"{said}: NCCL between GPUs needs more", more)
    return Finding("ok", "shared memory", said)


def check_limits(read: Callable[[int], tuple[int, int]] = resource.getrlimit) -> list[Finding]:
    """Limits of this process that a run may meet."""
    found = []
    for name, number, least in LIMITS:
        soft, hard = read(number)
        endless = soft == resource.RLIM_INFINITY
        said = "unlimited" if endless else _say_limit(name, soft)
        if endless or (least != resource.RLIM_INFINITY and soft >= least):
            found.append(Finding("ok", name, said))
        else:
            more = "unlimited" if hard == resource.RLIM_INFINITY else _say_limit(name, hard)
            found.append(Finding("warn", name, f"{said}: low", f"ulimit, up to {more} here"))
    told = ", ".join(f"{f.what} {f.said}" for f in found if f.mark == "ok")
    return [Finding("ok", "limits", told), *(f for f in found if f.mark != "ok")]


def _say_limit(name: str, value: int) -> str:
    return f"{value:,}" if name in ("open files", "processes") else f"{value / 1e6:,.1f} MB"


def check_clock(now_s: float | None = None) -> Finding:
    """A clock that is behind our own files makes certificates, logs and schedules wrong."""
    now = time.time() if now_s is None else now_s
    folder = Path(__file__).resolve().parent
    newest = max(path.stat().st_mtime for path in folder.glob("*.py"))
    shown = time.strftime("%Y-%m-%d %H:%M %z", time.localtime(now))
    if now < newest - 86400:
        behind = (newest - now) / 86400
        said = f"{shown}, {behind:,.0f} days before foveate's own files were written"
        return Finding("warn", "clock", said, "set the clock (timedatectl, chronyd)")
    return Finding("ok", "clock", shown)


def check_cache_sizes(cache: Path, limit_s: float = 1.0) -> Finding:
    """What packs, twins and compiled kernels take up, counted for at most `limit_s` each."""
    told = []
    for name in ("packs", "twins", "numba"):
        size, whole = folder_bytes(cache / name, limit_s)
        told.append(f"{name} {'' if whole else 'at least '}{size / 1e9:.2f} GB")
    return Finding("ok", "cache holds", ", ".join(told))


def folder_bytes(folder: Path, limit_s: float) -> tuple[int, bool]:
    """(bytes of all files below, whether all were counted in time); links are not followed."""
    end, total, left = time.monotonic() + limit_s, 0, [os.fspath(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as inside:
                for entry in inside:
                    if time.monotonic() > end:
                        return total, False
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total, True
