"""A stream in a process of its own: prints by how many MB it grew.

    python tests/streams.py ROOT BUDGET_MB

Not a test itself: test_memory.py says what is too much.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from foveate.dataloaders.feed.stream import Stream, Tuner
from foveate.dataloaders.folder import scan

BATCH, BATCHES = 16, 34


def peak_mb() -> float:
    """Most memory that this process ever had in use."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def grow(root: Path, budget_mb: float) -> tuple[float, float]:
    """(MB by which the process grew, MB of one decoded batch)."""
    manifest = scan(root, ("one", "two"), ("train",))
    Tuner.TOLERATED, Tuner.WINDOW = -1.0, 1  # it always wants to be further ahead
    stream = Stream(manifest, device=torch.device("cpu"), threads=2, budget=int(budget_mb * 1e6))
    numbers = np.arange(BATCH) % len(manifest)
    stream.take(numbers[:1]).cut(np.zeros(1, np.int64))  # what imports and threads take
    before, batch = peak_mb(), 0.0
    stream.ahead(itertools.repeat(numbers))
    for _ in range(BATCHES):
        held = stream.take(numbers)
        batch = max(batch, float(held.shape.prod(axis=2, dtype=np.int64).sum()) / 1e6)
        held.cut(np.zeros(BATCH, np.int64))
    for _, futures in stream._ready:  # so that what may be decoded ahead is
        for future in futures:
            future.result()
    stream.close()
    return peak_mb() - before, batch


if __name__ == "__main__":
    print(*grow(Path(sys.argv[1]), float(sys.argv[2])))
