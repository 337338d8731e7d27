"""What a feed holds in memory is bounded, and the bound is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trees import draw, encode

from foveate.dataloaders.feed.ring import SLOTS
from foveate.dataloaders.feed.stream import DEEPEST

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for n in range(16):
        path = root / "train" / ("one", "two")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw(n % 2, 1000, 1000), "png"))
    return root


def grow(root: Path, budget_mb: float) -> tuple[float, float]:
    words = [sys.executable, str(HERE / "streams.py"), str(root), str(budget_mb)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=True)
    growth, batch = map(float, done.stdout.split())
    return growth, batch


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stream_holds_its_budget_and_the_batch_in_use_and_no_more(root):
    """Slots, what is ahead, the batch in hand, and the one that threads were still busy with."""
    for budget in (80.0,):
        growth, batch = grow(root, budget)
        assert 20 < batch < 25
        bound = max(budget, batch) + (1.125 * SLOTS + 2) * batch
        assert growth < bound, (growth, bound)
    loose, _ = grow(root, 10_000)  # what the bound is there for
    assert loose > 0.6 * DEEPEST * batch > bound
