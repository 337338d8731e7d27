"""The benchmark harness: its interval covers, and what is no measurement is refused."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time

import compare
import numpy as np
import pytest
import tables
from compare import Refused, Sample, Side, interval, measure, summarise


def pairs(ratio: float, count: int, seed: int, noise: float = 0.1, drift: float = 1.0):
    """Samples whose true ratio is known: a machine that slows down, and noise of its own a run."""
    draw = np.random.default_rng(seed)
    slow = np.exp(np.linspace(0, drift, count))
    ours = slow * np.exp(draw.normal(0, noise, count))
    theirs = ratio * slow * np.exp(draw.normal(0, noise, count))
    return [[Sample(s, 2 * s, 64) for s in side] for side in (ours.tolist(), theirs.tolist())]


def summary(*arguments, **settings):
    row, cpu = summarise("step", *pairs(*arguments, **settings), against="plain")
    assert cpu["unit"] == "images/CPU-s"
    return row


@pytest.mark.parametrize("count", [7, 11, 21])
def test_the_interval_covers_the_true_ratio_in_95_of_100_experiments(count):
    rows = [summary(2.0, count, seed) for seed in range(600)]
    covered = np.mean([row["low"] <= 2.0 <= row["high"] for row in rows])
    assert 0.95 <= covered <= 0.999
    assert np.mean([row["ratio"] for row in rows]) == pytest.approx(2.0, rel=0.02)


def test_equal_sides_are_called_different_in_fewer_than_one_of_twenty():
    wrong = [summary(1.0, 11, seed)["significant"] for seed in range(600)]
    assert np.mean(wrong) <= 0.05


def test_a_difference_is_found_and_has_its_direction():
    better, worse = summary(1.5, 11, 0), summary(1 / 1.5, 11, 0)
    assert better["significant"] and better["low"] > 1 and better["ours"] > better["theirs"]
    assert worse["significant"] and worse["high"] < 1
    assert not summary(1.01, 7, 1)["significant"]


def test_the_bounds_are_those_of_the_binomial():
    assert interval(range(7)) == (0, 6)  # 2/128 outside
    assert interval(range(11)) == (1, 9)  # 24/2048
    assert interval(range(21)) == (5, 15)  # 0.0266
    with pytest.raises(Refused, match="bound no median"):
        interval(range(5))


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([Sample(1, 1, 64)] * 6, [Sample(1, 1, 64)] * 6, "6 and 6 samples"),
        ([Sample(1, 1, 64)] * 8, [Sample(1, 1, 64)] * 7, "8 and 7 samples"),
        ([Sample(1, 1, 64)] * 7, [Sample(1, 1, 63)] * 7, r"\[63, 64\] items"),
        ([Sample(1, 1, 0)] * 7, [Sample(1, 1, 0)] * 7, r"\[0\] items"),
        ([Sample(1e-4, 1, 64)] * 7, [Sample(1, 1, 64)] * 7, "measures the clock"),
    ],
)
def test_what_is_no_comparison_is_refused(ours, theirs, said):
    with pytest.raises(Refused, match=said):
        summarise("step", ours, theirs, against="plain")


def test_too_few_pairs_are_refused_before_anything_runs():
    with pytest.raises(Refused, match="6 pairs"):
        compare.compare("x", Side("a", lambda: 1 // 0), Side("b", lambda: 1 // 0), pairs=6)


def spin(end) -> None:
    while not end.is_set():
        pass


@pytest.mark.parametrize("kind", [threading, multiprocessing], ids=["thread", "process"])
def test_a_run_that_returns_before_its_work_is_done_is_refused(kind):
    """A worker computes on until it is told to stop, and `wait` does not know of it."""
    end = kind.Event()
    worker = (kind.Thread if kind is threading else kind.Process)(target=spin, args=(end,))

    def run() -> int:
        worker.start()
        return 64

    try:
        with pytest.raises(Refused, match="after the clock stopped"):
            measure(Side("asynchronous", run), settle_s=0.5)
    finally:
        end.set()
        worker.join()


def test_the_same_run_is_measured_to_its_end_where_wait_waits():
    end, worker = threading.Event(), []

    def run() -> int:
        worker[:] = [threading.Thread(target=spin, args=(end,))]
        worker[0].start()
        threading.Timer(0.2, end.set).start()
        return 64

    sample = measure(Side("waited for", run, wait=lambda: [w.join() for w in worker]))
    assert sample.items == 64 and sample.seconds >= 0.2


def test_a_quick_side_is_repeated_and_reported_by_the_run(monkeypatch):
    runs: list[str] = []

    def side(name: str, repeat: int) -> Side:
        def run() -> int:
            runs.append(name)
            time.sleep(0.01)
            return 32

        return Side(name, run, repeat=repeat)

    quick, slow = measure(side("quick", 8)), measure(side("slow", 2))
    assert runs == ["quick"] * 8 + ["slow"] * 2
    assert quick.items == slow.items == 32 and (quick.runs, slow.runs) == (8, 2)
    assert quick.seconds == pytest.approx(slow.seconds, rel=0.5)
    with pytest.raises(Refused, match="measures the clock"):
        summarise("step", [quick] * 7, [slow] * 7, against="slow")
    monkeypatch.setattr(compare, "LEAST_S", 0.015)
    row, _ = summarise("step", [quick] * 7, [slow] * 7, against="slow")
    assert row["items"] == 32 and row["ratio"] == pytest.approx(1, rel=0.5)


def test_runs_of_different_work_are_not_averaged():
    counts = iter([32, 31])
    with pytest.raises(Refused, match=r"\[31, 32\] items"):
        measure(Side("uneven", lambda: next(counts), repeat=2))


def asleep(joined: bool) -> Side:
    """Work on a thread that uses no CPU: a disk, a network, another machine."""
    threads: list[threading.Thread] = []

    def plant(seconds: float) -> None:
        threads.append(threading.Thread(target=time.sleep, args=(seconds,)))
        threads[-1].start()

    wait = (lambda: [t.join() for t in threads]) if joined else (lambda: None)
    return Side("asleep", lambda: 1, wait, plant)


def test_a_wait_that_does_not_wait_is_found_by_planted_work():
    compare.check_wait(asleep(joined=True))
    with pytest.raises(Refused, match="its wait does not wait"):
        compare.check_wait(asleep(joined=False), seconds=2.0)


def test_the_refusal_comes_before_any_pair_is_run():
    with pytest.raises(Refused, match="does not wait"):
        compare.compare("x", asleep(joined=False), Side("b", lambda: 1 // 0))


def test_pairs_are_interleaved_and_each_side_begins_every_other(monkeypatch):
    order: list[str] = []

    def side(name: str) -> Side:
        return Side(name, lambda: order.append(name) or 1)

    monkeypatch.setattr(compare, "LEAST_S", 0.0)
    rows = compare.compare("x", side("a"), side("b"), pairs=8, warm_s=0.0)
    assert "".join(order[4:]) == "abba" * 4, "the first 4 are two rounds of warm-up"
    assert rows[0]["against"] == "b" and rows[0]["pairs"] == 8


def test_a_pair_row_prints_both_sides_and_the_interval(tmp_path):
    identity = {"cpu": "C", "cores": 2, "memory_gb": 1, "gpu": "none", "python": "3", "load": 0}
    facts = {"identity": identity | {"packages": {"torch": "2"}}, "rows": [summary(2.0, 11, 0)]}
    (tmp_path / "x.json").write_text(json.dumps(facts))
    row = facts["rows"][0]
    block = tables.render(tmp_path)
    assert "| what | foveate | against | ratio | 95 % interval |" in block
    assert f"| {row['ratio']:.2f}x | {row['low']:.2f} to {row['high']:.2f} |" in block
    assert f"plain {row['theirs']:.1f} images/s" in block


def test_the_results_file_holds_identity_and_load(tmp_path, capsys):
    compare.finish(compare.begin(), [summary(2.0, 7, 0)], tmp_path / "r.json")
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["rows"][0]["ratio"] and {"load", "load_after", "cpu"} <= facts["identity"].keys()
    assert "step: " in capsys.readouterr().out
