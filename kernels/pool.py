"""The one thread pool of the process: kernels are serial nogil functions, this spreads them.

numba's `prange` is not used: its default layer aborts the process when two threads enter it, its
OpenMP layer kills forked children (both measured), and it would be a second pool beside torch's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

CHUNKS_PER_THREAD = 4  # images differ in cost by up to 20 times (crop area): leave room to balance

_jobs: SimpleQueue[_Job] = SimpleQueue()
_threads: list[threading.Thread] = []
_growing = threading.Lock()


class _Job:
    """Ranges that any number of threads take in turn until none is left or one failed."""

    def __init__(self, function: Callable[[int, int], object], count: int, chunks: int) -> None:
        self.function = function
        self.edges = [count * i // chunks for i in range(chunks + 1)]
        self.taken = self.running = 0
        self.error: BaseException | None = None
        self.changed = threading.Condition()

    def _take(self) -> int | None:
        with self.changed:
            if self.error is not None or self.taken == len(self.edges) - 1:
                return None
            self.taken += 1
            self.running += 1
            return self.taken - 1

    def work(self) -> None:
        """Take ranges until none is left. Errors are kept for the caller of `spread`."""
        while (chunk := self._take()) is not None:
            error = None
            try:
                self.function(self.edges[chunk], self.edges[chunk + 1])
            except BaseException as raised:  # also KeyboardInterrupt: nobody else would see it
                error = raised
            with self.changed:
                self.running -= 1
                self.error = self.error or error
                self.changed.notify_all()

    def wait(self) -> None:
        """Return when no thread is inside the function any more; raise the first error."""
        with self.changed:
            self.changed.wait_for(lambda: self.running == 0)
        if self.error is not None:
            raise self.error


def spread(function: Callable[[int, int], object], count: int, threads: int) -> None:
    """Call function(lo, hi) on ranges that cover range(count) once, on `threads` threads.

    The caller is one of the threads, so a call from inside another call cannot wait for ever: it
    does all the work itself if the pool is busy. An exception is raised here, after every running
    range has ended; later ranges are then skipped. ValueError if threads < 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if count <= 0:
        return
    if threads == 1 or count == 1:
        function(0, count)
        return
    job = _Job(function, count, min(count, threads * CHUNKS_PER_THREAD))
    helpers = min(threads, count) - 1
    _grow(helpers)
    for _ in range(helpers):
        _jobs.put(job)  # a helper that comes late finds nothing to take
    job.work()
    job.wait()


def _grow(size: int) -> None:
    with _growing:
        while len(_threads) < size:
            thread = threading.Thread(
                target=_serve, args=(_jobs,), name=f"foveate-{len(_threads)}", daemon=True
            )
            _threads.append(thread)
            thread.start()


def _serve(jobs: SimpleQueue[_Job]) -> None:
    while True:
        jobs.get().work()


def _forget() -> None:
    """A forked child has none of the threads; it starts its own when it needs them."""
    global _jobs, _growing
    _jobs, _growing = SimpleQueue(), threading.Lock()
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
