"""A quick decoder that no file can stop: each is vetted first, and has the CPU behind it.

Vetting reads markers (`header.py`). `exact` adds a look at every coded bit: libjpeg-turbo decodes
the file at an eighth of its size, strictly. Of 2,400 files damaged inside that found those, and
only those, that `decode` finds, where markers alone find 1 in 25. It costs a half (colour) to four
fifths (gray) of a whole decode on the CPU, for unpacking Huffman codes is most of the work.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .contract import Decoded, count
from .cpu import decode_one
from .header import find_end, jpeg_header, why_slow

TOGETHER = 8
"""Files vetted by one task: handing over a task costs as much as vetting a file."""
BATCH_PIXELS = 2**27
"""Of a batch, so that files of the largest size come one by one: 134 MB gray, 402 MB colour."""


@dataclass(frozen=True, slots=True)
class Vetted:
    """A file that the quick decoder surely takes."""

    data: memoryview
    """Up to the end marker; what follows is nobody's business."""
    channels: int
    pixels: int


def vet(data: bytes, exact: bool) -> Vetted | str:
    """The file for the quick decoder, or why it is not for it."""
    if data[:2] != b"\xff\xd8":
        return "no JPEG"
    try:
        header = jpeg_header(data)
    except ValueError:
        return "damaged header"
    if why := why_slow(header):
        return why
    try:
        end = find_end(data, header)
    except ValueError as error:
        return str(error)
    if exact and not _is_sound(data):
        return "damaged data"
    pixels = header.height * header.width
    return Vetted(memoryview(data)[:end], len(header.components), pixels)


def _is_sound(data: bytes) -> bool:
    """Whether libjpeg-turbo unpacks every coefficient without a warning."""
    try:
        import simplejpeg
    except ImportError:  # `decode` has Pillow then, which sees no such damage either
        return True
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except MemoryError:
        raise
    except Exception:  # as in `decode`, which will find the words
        return False
    return True


class VettingDecoder(ABC):
    """What DALI and nvJPEG share; they add `_decode_batch`. The contract is `Decoder`'s.

    `batch` files at most go over together. Where the quick decoder refuses a batch after all, the
    CPU decodes all of it, which the counts say.
    """

    name = ""

    def __init__(self, threads: int, batch: int, exact: bool) -> None:
        self.threads, self.batch, self.exact = threads, batch, exact
        self.counts: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="vet")

    def decode_many(self, files: Sequence[bytes]) -> list[Decoded]:
        """As `Decoder.decode_many`: threads vet what comes while a batch is decoded."""
        done: dict[int, Decoded] = {}
        waiting: dict[int, dict[int, Vetted]] = {1: {}, 3: {}}
        groups = [files[at : at + TOGETHER] for at in range(0, len(files), TOGETHER)]
        vetted = itertools.chain.from_iterable(self._pool.map(self._vet_some, groups))
        for number, one in enumerate(vetted):
            if isinstance(one, Decoded):
                done[number] = self._placed(one)
                continue
            group = waiting[one.channels]
            if sum(v.pixels for v in group.values()) + one.pixels > BATCH_PIXELS:
                self._flush(group, files, done)
            group[number] = one
            if len(group) == self.batch:
                self._flush(group, files, done)
        for group in waiting.values():
            self._flush(group, files, done)
        results = [done[number] for number in range(len(files))]
        count(self.counts, results)
        return results

    def close(self) -> None:
        """As `Decoder.close`."""
        self._pool.shutdown(cancel_futures=True)

    @abstractmethod
    def _decode_batch(self, files: list[memoryview], channels: int) -> list[Any]:
        """All files or RuntimeError; (H,W,C) uint8 where the caller wants it, C `channels`."""

    def _place(self, pixels: Any) -> Any:
        """What the CPU decoded -> where the caller wants it."""
        return pixels

    def _vet_some(self, files: Sequence[bytes]) -> list[Vetted | Decoded]:
        found = ((data, vet(data, self.exact)) for data in files)
        return [
            decode_one(data, f"CPU: {one}") if isinstance(one, str) else one for data, one in found
        ]

    def _flush(
        self, group: dict[int, Vetted], files: Sequence[bytes], done: dict[int, Decoded]
    ) -> None:
        """Decode what waits, and empty it."""
        if not group:
            return
        channels = next(iter(group.values())).channels
        try:
            pixels = self._decode_batch([one.data for one in group.values()], channels)
            decoded = [Decoded(one, self.name) for one in pixels]
        except RuntimeError as error:
            check_machine(error)
            whole = [files[number] for number in group]
            instead = functools.partial(decode_one, path=f"CPU: refused by {self.name}")
            decoded = [self._placed(one) for one in self._pool.map(instead, whole)]
        done |= dict(zip(group, decoded, strict=True))
        group.clear()

    def _placed(self, one: Decoded) -> Decoded:
        pixels = None if one.pixels is None else self._place(one.pixels)
        return Decoded(pixels, one.path, one.reason)


def check_machine(error: RuntimeError) -> None:
    """Raise MemoryError, or the error itself, where the machine is at fault and not a file."""
    said = str(error).lower()
    if "out of memory" in said or "bad_alloc" in said or "memoryallocation" in said:
        raise MemoryError("there is no memory left to decode into") from error
    if "cuda error" in said or "cuda runtime" in said or "cuda driver" in said:
        raise error
