"""Files decoded again in every epoch, ahead of use: for data sets that are too large to pack.

Threads decode the next batches while one is used. How many threads, and how far ahead, is found
while running: more when the training waited for images, fewer when all were always ready. What
is held is bounded in bytes.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from ..decoders.contract import Decoder
from ..errors import DataError
from ..manifest import Manifest
from ..pack.layout import LEVELS
from ..pack.writer import MixedDepth
from ..sources import Loaded, load, load_together
from ..verify.record import Recorded, differs
from .ring import Ring
from .store import Cut, Held

DEEPEST = 16


class StreamHeld:
    """Decoded images of one batch."""

    def __init__(self, images: list[Loaded], ring: Ring) -> None:
        self.images, self.ring = images, ring
        self.shape = np.zeros((len(images), LEVELS, 3), np.int32)
        for n, image in enumerate(images):
            for number, level in enumerate(image.levels):
                self.shape[n, number] = level.shape

    @property
    def levels(self) -> np.ndarray:
        """(n,) int64."""
        return np.array([len(image.levels) for image in self.images])

    def cut(self, level: np.ndarray) -> Cut:
        """As `Held` says."""
        chosen = [image.levels[k] for image, k in zip(self.images, level.tolist(), strict=True)]
        pixels, start = self.ring.gather(chosen)
        return pixels, start, self.shape[np.arange(len(level)), level]


class Stream:
    """A store without a pack. `threads` is the most that decode, `budget` the bytes held."""

    mode = "stream"
    content_sha256 = ""

    def __init__(
        self,
        manifest: Manifest,
        *,
        device: torch.device,
        threads: int,
        budget: int,
        side: int = 0,
        record: Mapping[str, Recorded] | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.manifest, self.side, self.budget, self.record = manifest, side, budget, record
        self.sha256 = np.zeros((len(manifest), 32), np.uint8)
        self.unreadable: dict[int, str] = {}
        self._depths: set[str] = set()  # one for all branches
        self._device, self._gate = device, Gate(threads)
        self._decoder = None if len(manifest.frame) else decoder
        workers = 1 if self._decoder else threads  # a batch decoder has threads of its own
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._threads = threads
        self._begin_queue()

    def branch(self) -> Stream:
        """The same files, threads and findings, with a queue of its own."""
        twin = copy.copy(self)
        twin._begin_queue()
        return twin

    def _begin_queue(self) -> None:
        self.tuner, self._ring = Tuner(self._threads), Ring(self._device)
        self._coming: Iterator[np.ndarray] = iter(())
        self._ready: deque[tuple[np.ndarray, list[Future[list[Loaded]]]]] = deque()
        self._batch_bytes = 0

    def ahead(self, batches: Iterator[np.ndarray]) -> None:
        """As `Store` says: what was begun before is forgotten."""
        self._drop()
        self._coming = batches
        self._fill()

    def take(self, numbers: np.ndarray) -> Held:
        """Wait for these images; where they are the next that `ahead` named, they are begun."""
        began = time.perf_counter()
        if self._ready and np.array_equal(self._ready[0][0], numbers):
            futures = self._ready.popleft()[1]
        else:
            futures = self._begin(numbers)
        was_ready = all(future.done() for future in futures)
        images = [image for future in futures for image in future.result()]
        for number, image in zip(numbers.tolist(), images, strict=True):
            self._note(number, np.frombuffer(image.sha256, np.uint8))
            if not image.levels:
                self.unreadable[number] = image.reason
        self._check_depth(images)
        self._batch_bytes = max(self._batch_bytes, sum(map(_bytes, images)))
        self.tuner.note(time.perf_counter() - began, was_ready)
        self._gate.limit = self.tuner.threads
        self._fill()
        return StreamHeld(images, self._ring)

    def replace(self, bad: int, good: int) -> None:
        """As `Store` says: a queue that still waited for `bad` would match no batch ever again."""
        for place, (numbers, futures) in enumerate(self._ready):
            if bad in numbers:
                for future in futures:
                    future.cancel()
                numbers = np.where(numbers == bad, good, numbers)
                self._ready[place] = numbers, self._begin(numbers)

    def close(self) -> None:
        """End the threads; what they began is dropped."""
        self._drop()
        self._coming = iter(())
        self._pool.shutdown(cancel_futures=True)
        if self._decoder:
            self._decoder.close()

    @property
    def depth(self) -> int:
        """Batches ahead: what the tuner asks for and the budget allows, at least one."""
        fit = self.budget // self._batch_bytes if self._batch_bytes else 1
        return max(1, min(self.tuner.depth, fit))

    def _check_depth(self, images: list[Loaded]) -> None:
        """Raise MixedDepth as packing does: a ring slot would keep the low 8 of 16 bits."""
        self._depths.update(image.levels[0].dtype.name for image in images if image.levels)
        if len(self._depths) > 1:
            raise MixedDepth(
                f"the data set mixes {' and '.join(sorted(self._depths))} images; convert one "
                "kind, or keep them in two folders"
            )

    def _note(self, number: int, digest: np.ndarray) -> None:
        before = self.sha256[number]
        if before.any() and not np.array_equal(before, digest):
            raise DataError(
                f"files under {self.manifest.root} have other contents than in the epoch before; "
                "find out what changes them, and start over with --fresh"
            )
        self.sha256[number] = digest

    def _fill(self) -> None:
        while len(self._ready) < self.depth:
            numbers = next(self._coming, None)
            if numbers is None:
                return
            self._ready.append((numbers, self._begin(numbers)))

    def _begin(self, numbers: np.ndarray) -> list[Future[list[Loaded]]]:
        if self._decoder:
            return [self._pool.submit(self._load, numbers.tolist())]
        return [self._pool.submit(self._load, [number]) for number in numbers.tolist()]

    def _load(self, numbers: list[int]) -> list[Loaded]:
        if self._decoder:
            found = load_together(self.manifest, numbers, self.side, self._decoder)
        else:
            with self._gate:
                found = [load(self.manifest, number, self.side) for number in numbers]
        for image, number in zip(found, numbers, strict=True):
            if why := differs(self.record, self.manifest.files[number], image.sha256):
                image.levels, image.reason = [], why
        return found

    def _drop(self) -> None:
        for _, futures in self._ready:
            for future in futures:
                future.cancel()
        self._ready.clear()


class Gate:
    """Lets `limit` threads through at a time; the limit may change while they run."""

    def __init__(self, limit: int) -> None:
        self._limit, self._inside = limit, 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Threads that may be inside."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        """Let more or fewer through from now on."""
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._limit)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify()


class Tuner:
    """How many threads decode and how many batches ahead, from what was waited for."""

    WINDOW = 8
    """Batches between decisions."""
    TOLERATED = 0.02
    """Share of the time that may be spent waiting."""

    def __init__(self, most: int) -> None:
        self.most, self.threads, self.depth = most, max(1, most // 2), 2
        self._floor = 1  # fewer than this were too few
        self._waited = self._began = 0.0
        self._seen = self._ready = 0

    def note(self, waited_s: float, was_ready: bool, now: float | None = None) -> None:
        """One batch was taken; `was_ready`: nothing of it was still being decoded."""
        now = time.perf_counter() if now is None else now
        if not self._seen:
            self._began = now  # the first batch of a window is not waited for: it starts the clock
        else:
            self._waited += waited_s
            self._ready += was_ready
        self._seen += 1
        if self._seen > self.WINDOW:
            self._decide(self._waited / max(now - self._began, 1e-9))
            self._waited, self._seen, self._ready = 0.0, 0, 0

    def _decide(self, share: float) -> None:
        if share > self.TOLERATED:
            self._floor = min(self.most, self.threads + 1)
            self.threads = self._floor
            self.depth = min(DEEPEST, self.depth + 1)
        elif self._ready == self.WINDOW and self.threads > self._floor:
            self.threads -= 1


def _bytes(image: Loaded) -> int:
    return sum(level.nbytes for level in image.levels)
