"""Writing a pack so that a kill loses seconds of it: pixels first, then a line that says so.

    <pack>.building/pixels.npy     grows; its header is written last
                    journal.jsonl  a line per image whose pixels are on the disk

A line is only written after the pixels before it were synced, so what the journal says is there
after a kill -9 and after a power cut. Going on cuts the pixels to where the journal ends.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..sources import Loaded
from .layout import FORMAT, LEVELS, PADDING

HEADER = 128
"""Bytes kept free at the front of pixels.npy until its length is known."""
SYNC_BYTES, SYNC_S = 256_000_000, 5.0
"""Pixels are synced after so many bytes or seconds: what a kill can cost."""
POUR_BYTES = 4_000_000
"""Pixels are handed to the system in so many bytes at a time: 512 full-size images take it 45 ms,
and 70 ms one by one."""
RUNS = 512
"""Arrays at a time: Linux takes no more than 1024."""
PUSH_BYTES = 8_000_000
"""After so many a thread begins to bring them to the disk, so that a sync finds little to wait for
while the images decoded ahead run out."""


class MixedDepth(DataError):
    """8 and 16 bits in one data set: going on would fail at the same image."""


class Writer:
    """Appends images to pixels.npy and remembers where each level went."""

    def __init__(
        self, count: int, file: io.FileIO | io.BytesIO, journal: Path | None = None
    ) -> None:
        self.file, self.journal = file, journal
        self.elements = self.done = 0
        self.dtype: np.dtype | None = None
        self.start = np.full((count, LEVELS), -1, np.int64)
        self.shape = np.zeros((count, LEVELS, 3), np.int32)
        self.sha256 = np.zeros((count, 32), np.uint8)
        self.crc32 = np.zeros(count, np.uint32)
        self.unreadable: dict[int, str] = {}
        self._head = {"format": FORMAT, "levels": LEVELS}
        self._lines: list[str] = []
        self._synced, self._when = 0, time.monotonic()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="push")  # starts none until used
        self._pushing: Future[None] | None = None
        self._pushed = 0
        self._held: list[np.ndarray] = []
        self._at, self._held_bytes = HEADER, 0
        file.write(b"\0" * HEADER)

    def go_on(self) -> int:
        """Take up what an earlier process finished; returns how many images that is.

        The file is cut to what the journal vouches for. Raises OSError.
        """
        assert self.journal is not None
        head, *lines = _whole_lines(self.journal) or [self._head]
        if head != self._head:
            raise OSError(f"{self.journal} is of another format")
        for line in lines:
            self._note(line)
        self.file.seek(0, os.SEEK_END)
        item = self.dtype.itemsize if self.dtype else 1
        end = HEADER + self.elements * item
        if self.file.tell() < end:  # no pixels under the lines: somebody else's files
            raise OSError(f"{self.journal} is longer than its pixels")
        self.file.truncate(end)
        self._at = end
        self._synced = self.elements
        return self.done

    def add(self, loaded: Loaded) -> None:
        """Append the next image of the manifest."""
        for level in loaded.levels:
            self._check_depth(level.dtype)
        self._held += [np.ascontiguousarray(level) for level in loaded.levels]
        self._held_bytes += sum(level.nbytes for level in loaded.levels)
        line = {
            "sha256": loaded.sha256.hex(),
            "shape": [level.shape for level in loaded.levels],
            "crc32": loaded.crc32,
            "reason": loaded.reason,
            "dtype": self.dtype.str if self.dtype else "",
        }
        self._note(line)
        if self._held_bytes >= POUR_BYTES or len(self._held) > RUNS - LEVELS:
            self._pour()
        if self.journal is not None:
            self._lines.append(json.dumps(line) + "\n")
            if self._is_time():
                self.sync()
            else:
                self._push()

    def sync(self) -> None:
        """Bring pixels to the disk, then the lines about them."""
        if self.journal is None:
            return
        if self._pushing:
            self._pushing.result()  # an error of the disk is told once: to that thread
        self._pour()
        os.fsync(self.file.fileno())
        lines, self._lines = self._lines, []  # first: Ctrl-C below must not write them twice
        with open(self.journal, "a") as journal:
            if not journal.tell():
                journal.write(json.dumps(self._head) + "\n")
            journal.write("".join(lines))
            journal.flush()
            os.fsync(journal.fileno())
        self._synced, self._when = self.elements, time.monotonic()

    def close(self) -> None:
        """Write the padding, then the .npy header: magic, version 1.0, a dictionary."""
        dtype = self.dtype or np.dtype(np.uint8)
        self._pour()
        self.file.seek(self._at)
        self.file.write(b"\0" * PADDING * dtype.itemsize)
        self.elements += PADDING
        if self._pushing:
            self._pushing.result()
        self._pool.shutdown()
        text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({self.elements},), }}"
        length = HEADER - 10
        self.file.seek(0)
        self.file.write(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little"))
        self.file.write(text.ljust(length - 1).encode() + b"\n")

    def _note(self, line: dict[str, Any]) -> None:
        """Enter one image into the index, from its line."""
        number = self.done
        self.dtype = np.dtype(line["dtype"]) if line["dtype"] else None
        self.sha256[number] = np.frombuffer(bytes.fromhex(line["sha256"]), np.uint8)
        self.crc32[number] = line["crc32"]
        if not line["shape"]:
            self.unreadable[number] = line["reason"]
        for level, shape in enumerate(line["shape"]):
            self.start[number, level], self.shape[number, level] = self.elements, shape
            self.elements += math.prod(shape)
        self.done += 1

    def _pour(self) -> None:
        """Hand what is held to the system. Broken off, it can be done again: the same place."""
        end = _write_at(self.file, self._held, self._at)
        self._at, self._held, self._held_bytes = end, [], 0

    def _push(self) -> None:
        """Let the thread write out what there is, if it is not still at it. Raises its errors."""
        size = self._at
        if size - self._pushed < PUSH_BYTES or not (self._pushing is None or self._pushing.done()):
            return
        if self._pushing:
            self._pushing.result()
        self._pushed = size
        self._pushing = self._pool.submit(_write_out, os.dup(self.file.fileno()))

    def _is_time(self) -> bool:
        item = self.dtype.itemsize if self.dtype else 1
        waited = time.monotonic() - self._when
        return (self.elements - self._synced) * item >= SYNC_BYTES or waited >= SYNC_S

    def _check_depth(self, dtype: np.dtype) -> None:
        self.dtype = self.dtype or dtype
        if dtype != self.dtype:
            raise MixedDepth(
                f"the data set mixes {self.dtype} and {dtype} images (by name, image "
                f"{self.done + 1} is the first that differs); convert one kind, or keep them in "
                "two folders"
            )


def _write_at(file: io.FileIO | io.BytesIO, arrays: Sequence[np.ndarray], at: int) -> int:
    """Arrays, one after the other, from byte `at` on -> where they end."""
    rest = [array.data.cast("B") for array in arrays if array.nbytes]
    while rest:
        if isinstance(file, io.BytesIO):
            file.seek(at)
            taken = sum(map(file.write, rest))
        else:
            taken = os.pwritev(file.fileno(), rest, at)
        at += taken
        while rest and taken >= len(rest[0]):
            taken -= len(rest.pop(0))
        if taken:  # the system took a part: a full disk says so at the next try
            rest[0] = rest[0][taken:]
    return at


def _write_out(handle: int) -> None:
    """Of a handle of its own: the file may be closed meanwhile."""
    try:
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _whole_lines(journal: Path) -> list[dict[str, Any]]:
    """Lines up to the first that a kill cut short; the file is cut there too."""
    try:
        data = journal.read_bytes()
    except FileNotFoundError:
        return []
    end = data.rfind(b"\n") + 1
    if end < len(data):
        os.truncate(journal, end)
    return [json.loads(line) for line in data[:end].splitlines()]
