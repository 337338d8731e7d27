"""`decode` in threads: libjpeg-turbo works without the interpreter lock, so they scale."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .contract import Decoded, count
from .decode import Unreadable, decode


def decode_one(data: bytes, path: str) -> Decoded:
    """One file by `decode`; raises what is the machine's fault."""
    try:
        return Decoded(decode(data), path)
    except Unreadable as error:
        return Decoded(None, path, str(error))


class CpuDecoder:
    """Every kind of file that `decode` reads, by it."""

    name = "CPU"

    def __init__(self, threads: int) -> None:
        self.counts: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def decode_many(self, files: Sequence[bytes]) -> list[Decoded]:
        done = list(self._pool.map(functools.partial(decode_one, path=self.name), files))
        count(self.counts, done)
        return done

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
