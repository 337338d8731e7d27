"""How quick every operation of kernels/ is on the CPU, beside a plain copy in the same run.

Each runs its example with the most traffic. Examples are small, for they are made to cover odd
cases: what a call costs beside its traffic is in these figures.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from compare import Row, interval

from foveate.kernels.op import Example, Op, load
from foveate.kernels.pool import spread

COPIED, PARTS, REPEATS = 256_000_000, 64, 11


def measure_ops(threads: int, block_s: float) -> list[Row]:
    """The rows of all: the copy, then two of each operation that has a back end for the CPU."""
    source, target = (np.full(COPIED, level, np.uint8) for level in (1, 0))
    part = COPIED // PARTS

    def copy(low: int, high: int) -> None:
        np.copyto(target[low * part : high * part], source[low * part : high * part])

    copied = rate(lambda: spread(copy, PARTS, threads), 2 * COPIED / 1e9, block_s)
    rows = [single(f"copy of {COPIED / 1e6:.0f} MB in {threads} threads", copied, "GB/s")]
    for op in load().values():
        if "cpu" in op.backends:
            rows += measure_op(op, statistics.median(copied), block_s)
        else:
            print(f"skipped: {op.name} has no back end for the CPU", flush=True)
    return rows


def measure_op(op: Op, copied: float, block_s: float) -> list[Row]:
    """Its time, and its traffic beside the copy's, GB/s."""
    example = max(op.examples(), key=lambda one: moved(op, one))
    amount = moved(op, example) / 1e9
    found = rate(lambda: op.run(*example.args, backend="cpu", **example.settings), amount, block_s)
    what = f"{op.name}, example '{example.name}', {1e3 * amount:.2f} MB"
    print(f"{op.name}: {statistics.median(found) / copied:.1%} of a copy's bandwidth", flush=True)
    return [
        single(f"{what}: time", [1e3 * amount / one for one in found], "ms"),
        single(f"{what}: traffic", found, "GB/s", "copy", copied),
    ]


def moved(op: Op, example: Example) -> int:
    """Bytes of an example's traffic."""
    return op.traffic(*example.args, **example.settings)


def rate(work: Callable[[], Any], amount: float, block_s: float) -> list[float]:
    """Amount a second of REPEATS blocks of so many seconds, after two of warm-up."""
    work()
    began = time.perf_counter()
    work()
    calls = max(1, round(block_s / (time.perf_counter() - began)))
    found = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        found.append(calls * amount / (time.perf_counter() - began))
    return found[1:]


def single(
    what: str,
    found: list[float],
    unit: str,
    against: str | None = None,
    theirs: float | None = None,
) -> Row:
    """A row without a ratio: the median and its interval."""
    low, high = interval(found)
    row = {"what": what, "ours": statistics.median(found), "against": against, "theirs": theirs}
    return row | {"unit": unit, "ratio": None, "low": low, "high": high}
