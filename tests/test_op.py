"""Every operation against its reference, and the rules of dispatch, compilation and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.kernels import op as ops
from foveate.kernels.pool import spread

ROOT = Path(__file__).parent.parent
CASES = [(op, example) for op in ops.load().values() for example in op.examples()]
EXACT = [(op, example) for op, example in CASES if op.exact]
ROUNDED = [(op, example) for op, example in CASES if not op.exact]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("op", "example"), ROUNDED, ids=lambda case: case.name)
def test_a_kernel_is_as_exact_as_its_reference(op, example, dtype):
    exact = op.reference(*example.args, **example.settings, dtype=torch.float64)
    same = op.reference(*example.args, **example.settings, dtype=dtype)
    ours = op.run(*example.args, **example.settings, dtype=dtype)
    assert ours.dtype == dtype and ours.shape == exact.shape
    if not exact.numel():
        return
    error, theirs = ((out.double() - exact).abs().max() for out in (ours, same))
    bound = 2 * theirs + torch.finfo(dtype).eps * exact.abs().max()
    assert error <= bound, f"{error:.2e} > {bound:.2e}"


@pytest.mark.parametrize(("op", "example"), EXACT, ids=lambda case: case.name)
def test_whole_numbers_are_exactly_those_of_the_reference(op, example):
    exact = op.reference(*example.args, **example.settings)
    ours = op.run(*example.args, **example.settings)
    assert ours.dtype == exact.dtype and torch.equal(ours, exact)


@pytest.mark.parametrize(("op", "example"), CASES, ids=lambda case: case.name)
def test_every_example_moves_at_least_the_bytes_of_its_output(op, example):
    out = op.run(*example.args, **example.settings)
    moved = op.traffic(*example.args, **example.settings)
    assert moved > out.numel() * out.element_size()


def test_a_device_without_a_back_end_is_an_error_that_names_both():
    pixels = torch.empty(4, dtype=torch.uint8, device="meta")
    with pytest.raises(
        NotImplementedError, match="sample has no back end for meta, only cpu, cuda, triton"
    ):
        ops.OPS["sample"].run(pixels)


def test_importing_every_module_compiles_nothing_and_leaves_the_gpu_alone():
    script = (
        "import sys, torch\n"
        "from foveate.kernels.op import load\n"
        "load()\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert 'numba' not in sys.modules\n"
        "from foveate.kernels.sample import cpu\n"
        "assert not cpu._range.signatures\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_without_numba_a_function_says_what_to_install_when_called(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    function = ops.jit(_double)
    with pytest.raises(ImportError, match="_double needs numba: pip install numba"):
        function(2)


def test_a_folder_that_cannot_be_written_costs_the_cache_and_nothing_else(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "file"))
    ops.cache_folder.cache_clear()
    try:
        assert ops.cache_folder() is None
        assert ops.jit(_double)(21) == 42
    finally:
        ops.cache_folder.cache_clear()


def test_compiled_code_is_kept_under_our_cache_and_numba_keeps_its_setting(monkeypatch, tmp_path):
    numba = pytest.importorskip("numba")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "theirs")
    ops.cache_folder.cache_clear()
    try:
        assert ops.jit(_double)(21) == 42
        assert numba.config.CACHE_DIR == "theirs"
        assert list(tmp_path.glob("numba/*/*/*_double*.nbi"))
    finally:
        ops.cache_folder.cache_clear()


def _double(x):
    return x * 2


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_spread_covers_every_item_once(count, threads):
    seen = np.zeros(count, int)

    def work(lo, hi):
        seen[lo:hi] += 1

    spread(work, count, threads)
    assert (seen == 1).all()


def test_spread_uses_the_threads_it_was_given():
    names, meet = set(), threading.Barrier(3)

    def work(lo, hi):
        if lo < 3:
            meet.wait(timeout=30)  # passes only if three threads are inside at once
        names.add(threading.current_thread().name)

    spread(work, 3, 3)
    assert len(names) == 3


def test_spread_inside_spread_finishes():
    seen = np.zeros((6, 50), int)

    def outer(lo, hi):
        for row in range(lo, hi):
            spread(lambda a, b, row=row: seen[row].__setitem__(slice(a, b), 1), 50, 4)

    spread(outer, 6, 3)
    assert seen.all()


def test_an_error_inside_spread_reaches_the_caller_and_the_pool_survives():
    def fail(lo, hi):
        if lo <= 5 < hi:
            raise RuntimeError("broken scan")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken scan"):
            spread(fail, 20, 4)
    spread(lambda lo, hi: None, 20, 4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_spread_works_in_a_forked_child():
    script = (
        "import os\n"
        "from foveate.kernels.pool import spread\n"
        "spread(lambda lo, hi: None, 20, 4)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    seen = []\n"
        "    spread(lambda lo, hi: seen.extend(range(lo, hi)), 20, 4)\n"
        "    os._exit(sorted(seen) != list(range(20)))\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)


def test_spread_refuses_no_threads():
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        spread(lambda lo, hi: None, 4, 0)
