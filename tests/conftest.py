"""What every test runs under: one thread, a cache of its own, kernels interpreted without a GPU.

The environment is set while this file is imported, before any module of foveate is: Triton and
OpenMP read theirs once. Processes that tests start inherit it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums depend on the thread count, in every process

os.environ["MLFLOW_TRACKING_URI"] = "none"  # test_replay.py names the stores that it replays into

import pytest
import torch

CARDS = torch.cuda.device_count() if torch.cuda.is_available() else 0
if not CARDS:
    os.environ["TRITON_INTERPRET"] = "1"


def make_cache() -> Path:
    """A cache folder for this session; only numba's machine code outlives it.

    That code is keyed by a hash of all kernel sources, and making it again takes 10 to 20 seconds.
    """
    kept = Path(os.environ.get("FOVEATE_CACHE") or Path.home() / ".cache" / "foveate") / "numba"
    cache = Path(tempfile.mkdtemp(prefix="foveate-tests-"))
    try:
        kept.mkdir(parents=True, exist_ok=True)
        (cache / "numba").symlink_to(kept.resolve(), target_is_directory=True)
    except OSError:  # a home that cannot be written, or a system without links: compile again
        (cache / "numba").mkdir()
    return cache


CACHE = make_cache()
os.environ["FOVEATE_CACHE"] = str(CACHE)


def pytest_unconfigure() -> None:
    """Remove the session's cache (rmtree unlinks numba's folder and does not enter it)."""
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs more cards than there are, and say so."""
    for mark, needed in (("gpu", 1), ("multi", 2)):
        skip = pytest.mark.skip(reason=f"needs {needed} CUDA device(s), this machine has {CARDS}")
        for item in items:
            if CARDS < needed and item.get_closest_marker(mark):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU if there is one; the CPU, with Triton interpreted, if not."""
    return torch.device("cuda" if CARDS else "cpu")
