"""Ours against theirs: interleaved pairs, waited-for edges, equal work, an honest interval.

    rows = compare("train step", Side("ours", step), Side("torchvision", plain), unit="images")
    python benchmarks/compare.py --json PATH   the harness on itself: equal work has to give 1

A side is a function that does some work and returns how many items it processed. One pair is one
run of each, ours first in every other pair, so that what the machine does meanwhile hits both.
Rounds are dropped until `warm_s` seconds and two of them have passed.

The ratio of a pair is their seconds over ours: above 1, ours is faster. The median of the ratios
is reported with the interval of the sign test: the k-th smallest and the k-th largest ratio, k
the largest that a fair coin reaches in at most 5 % of all cases. It assumes no distribution and
never covers less than 95 %. The number of pairs is fixed beforehand; stopping when the interval
looks good would void it. CPU-seconds, with worker processes, get a row of their own: on a busy
machine they stay what they are.

A result is refused (`Refused`) where it would be no measurement: unequal work, fewer than 7 pairs,
runs under 0.2 s, a `wait` that does not wait, and work that goes on after the clock has stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LEAST_PAIRS, LEAST_S = 7, 0.2
SETTLE_S = 0.05
LATE_S, LATE_SHARE = 0.012, 0.01
"""CPU-seconds that may be used after the clock stopped: idle thread pools spin for a
moment, and the clock of a worker process ticks in 10 ms."""
METHOD = "median of pairwise ratios, 95 % interval of the sign test"


class Refused(Exception):
    """These timings would be no measurement; the message says why."""


@dataclass(frozen=True)
class Side:
    """One way to do the work."""

    name: str
    run: Callable[[], int]
    """Does the work once and returns how many items it processed."""
    wait: Callable[[], None] = lambda: None
    """Returns when all that `run` started is done. CUDA devices are waited for in any case."""
    plant: Callable[[float], None] | None = None
    """Starts that many seconds of work the way `run` starts its own, and returns at once: for
    work that uses no CPU of this machine, which is the one kind that `measure` cannot see."""
    repeat: int = 1
    """Runs that are timed as one: for the side that is too quick to be timed by one run, where
    the other would take minutes. What is reported is of one run, the same work on both sides."""
    ready: Callable[[], None] = lambda: None
    """Clears away what the run before left, off the clock."""


@dataclass(frozen=True)
class Sample:
    """One run of one side, or the mean of `runs` that were timed together."""

    seconds: float
    cpu_s: float
    items: int
    runs: int = 1


def compare(
    what: str,
    ours: Side,
    theirs: Side,
    *,
    unit: str = "images",
    pairs: int = 11,
    warm_s: float = 3.0,
) -> list[Row]:
    """Two rows: by the clock and by CPU-seconds. Raises Refused."""
    if pairs < LEAST_PAIRS:
        raise Refused(f"{pairs} pairs bound no median; give {LEAST_PAIRS} or more")
    for side in (ours, theirs):
        check_wait(side)
    _warm(ours, theirs, warm_s)
    taken: tuple[list[Sample], list[Sample]] = ([], [])
    for turn in range(pairs):
        for place in (0, 1) if turn % 2 == 0 else (1, 0):
            taken[place].append(measure((ours, theirs)[place]))
    return summarise(what, *taken, against=theirs.name, unit=unit)


def measure(side: Side, settle_s: float = SETTLE_S) -> Sample:
    """One run between waited-for edges. Raises Refused where work goes on after the second."""
    side.ready()
    settle(side)
    cpu, began = cpu_seconds(), time.perf_counter()
    counts = {side.run() for _ in range(side.repeat)}
    settle(side)
    seconds, used = time.perf_counter() - began, cpu_seconds() - cpu
    before = cpu_seconds()
    time.sleep(settle_s)
    late = cpu_seconds() - before
    if late > LATE_S + LATE_SHARE * seconds:
        raise Refused(
            f"{side.name}: {1e3 * late:.0f} ms of CPU were used in {1e3 * settle_s:.0f} ms after "
            "the clock stopped; run or wait has to return when the work is done"
        )
    if len(counts) > 1:
        raise Refused(f"{side.name}: its runs processed {sorted(counts)} items")
    return Sample(seconds / side.repeat, used / side.repeat, counts.pop(), side.repeat)


def settle(side: Side) -> None:
    """Wait for every CUDA device this process uses, then for what the side knows of."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        for number in range(torch.cuda.device_count()):
            torch.cuda.synchronize(number)
    side.wait()


def check_wait(side: Side, seconds: float = 0.3) -> None:
    """Time planted work of known length. Raises Refused where the clock stopped before its end."""
    if side.plant is None:
        return
    settle(side)
    began = time.perf_counter()
    side.plant(seconds)
    settle(side)
    seen = time.perf_counter() - began
    if seen < 0.95 * seconds:
        raise Refused(
            f"{side.name}: {seconds:g} s of planted work were timed as {seen:.3f} s; its wait "
            "does not wait"
        )


def summarise(
    what: str,
    ours: Sequence[Sample],
    theirs: Sequence[Sample],
    *,
    against: str,
    unit: str = "images",
) -> list[Row]:
    """Samples of both sides, pair by pair -> the two rows. Raises Refused."""
    if len(ours) != len(theirs) or len(ours) < LEAST_PAIRS:
        raise Refused(f"{len(ours)} and {len(theirs)} samples are not {LEAST_PAIRS} pairs or more")
    counts = {sample.items for sample in (*ours, *theirs)}
    if len(counts) > 1 or min(counts) < 1:
        raise Refused(f"{what}: the sides processed {sorted(counts)} items; they have to be equal")
    shortest = min(sample.seconds * sample.runs for sample in (*ours, *theirs))
    if shortest < LEAST_S:
        raise Refused(
            f"{what}: a run of {shortest:.4f} s measures the clock; repeat the work in it"
        )
    wall = [(a.seconds, b.seconds) for a, b in zip(ours, theirs, strict=True)]
    cpu = [(a.cpu_s, b.cpu_s) for a, b in zip(ours, theirs, strict=True)]
    items = counts.pop()
    return [
        _row(what, wall, items, against, f"{unit}/s"),
        _row(f"{what}, by CPU time", cpu, items, against, f"{unit}/CPU-s"),
    ]


def _row(
    what: str, pairs: Sequence[tuple[float, float]], items: int, against: str, unit: str
) -> Row:
    ratios = [b / max(a, 1e-9) for a, b in pairs]
    low, high = interval(ratios)
    return {
        "what": what,
        "ours": round(items / max(statistics.median(a for a, _ in pairs), 1e-9), 3),
        "against": against,
        "theirs": round(items / max(statistics.median(b for _, b in pairs), 1e-9), 3),
        "unit": unit,
        "ratio": round(statistics.median(ratios), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "significant": not low <= 1 <= high,
        "pairs": len(pairs),
        "items": items,
        "method": METHOD,
    }


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Bounds of the median by the sign test; at least 6 values bound it at 95 %."""
    count, outside, k = len(values), 0.0, 0
    while k < count / 2:
        outside += 2 * math.comb(count, k) / 2**count
        if outside > 1 - level:
            break
        k += 1
    if k == 0:
        raise Refused(f"{count} values bound no median at {level:.0%}")
    ordered = sorted(values)
    return ordered[k - 1], ordered[count - k]


def cpu_seconds() -> float:
    """Of this process, its finished children and its living worker processes."""
    ended = os.times()
    used = time.process_time() + ended.children_user + ended.children_system
    return used + sum(_cpu_of(child.pid) for child in multiprocessing.active_children())


def _cpu_of(process: int | None) -> float:
    """User and system time of a living process; 0 where the system does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _warm(ours: Side, theirs: Side, warm_s: float) -> None:
    began, rounds = time.perf_counter(), 0
    while rounds < 2 or time.perf_counter() - began < warm_s:
        for side in (ours, theirs):
            side.ready()
            side.run()
            settle(side)
        rounds += 1


def describe(row: Row) -> str:
    """One line of a row."""
    if row.get("ratio") is None:
        return f"{row['what']}: {row['ours']:g} {row['unit']}"
    said = "" if row["significant"] else ", no difference shown"
    return (
        f"{row['what']}: {row['ours']:g} against {row['theirs']:g} {row['unit']} ({row['against']})"
        f", {row['ratio']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]{said}"
    )


def begin() -> Row:
    """The identity block of a results file, with the load before anything is measured."""
    from foveate.engine.run.identity import identify

    return identify(len(os.sched_getaffinity(0)))


def finish(identity: Row, rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows; write them where --json says, with the load afterwards."""
    identity["load_after"] = round(os.getloadavg()[0], 2)
    for row in rows:
        print(describe(row))
    if path:
        facts = {"format": 1, "identity": identity, "rows": list(rows)}
        path.write_text(json.dumps(facts, indent=1) + "\n")


def parse(description: str | None) -> argparse.ArgumentParser:
    """A parser with the flags that every benchmark has."""
    options = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    options.add_argument("--json", type=Path, help="write identity and rows there")
    options.add_argument("--pairs", type=int, default=11, help="fixed beforehand (default 11)")
    return options


def main() -> None:
    """The same work on both sides: an interval without 1 would say that the harness is biased."""
    asked = parse(__doc__).parse_args()

    def work() -> int:
        for _ in range(36_000_000):
            pass
        return 1

    identity = begin()
    rows = compare(
        "the same loop", Side("one", work), Side("other", work), unit="loops", pairs=asked.pairs
    )
    finish(identity, rows, asked.json)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """A refusal ends the program with one line."""
    try:
        yield
    except Refused as refusal:
        sys.exit(f"refused: {refusal}")


if __name__ == "__main__":
    with plainly():
        main()
