"""`foveate doctor` about the machine: cards, cores, disks, limits, clock, environment."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from foveate.engine.cli import main
from foveate.engine.doctor import diagnosis as doctor
from foveate.engine.doctor import places
from foveate.engine.doctor.imports import Imported
from foveate.engine.doctor.machine import (
    check_cores,
    check_gpus,
    check_memory,
    match_kernels,
    memory_limit,
    quota,
)
from foveate.engine.doctor.traps import PRESENCE, SHOWN, check_environment

CUDA13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "names", "fit"),
    [
        ((9, 0), CUDA13, "native"),
        ((8, 9), CUDA13, "native"),
        ((7, 0), CUDA13, "none"),
        ((10, 3), CUDA13, "native"),
        ((11, 0), CUDA13, "none"),
        ((12, 1), [*CUDA13, "compute_120"], "native"),
        ((13, 0), [*CUDA13, "compute_120"], "ptx"),
        ((9, 0), ["sm_90a"], "native"),
        ((10, 3), ["sm_100a"], "none"),
        ((8, 0), ["sm_86"], "none"),
    ],
)
def test_kernels_fit_cards_as_cuda_says(capability, names, fit):
    assert match_kernels(capability, names) == fit


def see(capability: list[int], **more: object) -> Imported:
    gpu = {"name": "Card", "capability": capability, "memory": 80 * 2**30, "processors": 132}
    facts = {"cuda": "13.0", "arch": CUDA13, "gpus": [gpu], "cudnn": 9, "nccl": "2.3"}
    return Imported(facts=facts | more)


def test_a_card_without_kernels_stops_a_run_and_one_with_them_does_not():
    assert [f.mark for f in check_gpus(see([9, 0]), Imported(), 1)] == ["ok", "ok", "ok"]
    *_, card = check_gpus(see([7, 0]), Imported(), 1)
    assert card.mark == "bad" and "no kernels" in card.said and "sm 70, 80 GiB" in card.said


def test_cards_that_torch_does_not_see_are_a_warning(monkeypatch):
    blind = see([9, 0], gpus=[], why="The NVIDIA driver on your system is too old")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert check_gpus(blind, Imported(), 8)[-1].mark == "warn"
    assert "too old" in check_gpus(blind, Imported(), 8)[-1].said
    assert check_gpus(blind, Imported(), 0)[-1].mark == "note"


def test_nothing_is_left_behind_or_made(tmp_path):
    assert places.check_place("cache", tmp_path / "a/b").mark in ("ok", "warn")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_ends_with_50(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    bad = places.check_place("cache", tmp_path / "file" / "cache")
    assert (bad.mark, bad.code) == ("bad", 50) and "Not a directory" in bad.said
    assert places.check_place("cache", Path("~/.cache/foveate")).code == 50
    monkeypatch.setattr(doctor, "import_all", lambda names, limit: dict.fromkeys(names, Imported()))
    monkeypatch.setattr(doctor, "check_gpus", lambda *_: [])
    monkeypatch.setattr(doctor, "_environment", lambda: [])
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["doctor", "--runs", str(tmp_path)]) == 50
    assert re.search(
        r"^bad   cache .*\n(?:.*\n)*cache: a run would stop", capsys.readouterr().out, re.M
    )
    assert main(["doctor", "--json", str(tmp_path / "no" / "x.json")]) == 50


def usage(free: float):
    return lambda path: type("Usage", (), {"free": free, "total": 1e12, "used": 0})()


def test_a_disk_that_is_full_strange_or_slow_is_told_apart(tmp_path, monkeypatch):
    for free, mark in ((50e6, "bad"), (5e9, "warn"), (5e11, "ok")):
        monkeypatch.setattr(places.shutil, "disk_usage", usage(free))
        assert places.check_place("runs", tmp_path).mark == mark
    monkeypatch.setattr(places, "exercise", lambda folder: (0.001, -30.0))
    assert "clock is -30 s" in places.check_place("runs", tmp_path).said
    monkeypatch.setattr(places, "exercise", lambda folder: (3.0, 0.0))
    assert places.check_place("runs", tmp_path).mark == "warn"
    small = lambda path: type("Usage", (), {"total": 64 << 20, "used": 0})()  # noqa: E731
    monkeypatch.setattr(places.shutil, "disk_usage", small)
    assert "--shm-size" in places.check_shared_memory().fix


def test_a_disk_that_loses_what_is_written_is_bad(tmp_path, monkeypatch):
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path)[:-1])
    assert "not what was written" in places.check_place("runs", tmp_path).said


def test_limits_below_what_a_run_needs_are_warnings():
    low = lambda number: (256, 4096) if number == resource.RLIMIT_NOFILE else (-1, -1)  # noqa: E731
    first, told = places.check_limits(low)
    assert "processes unlimited" in first.said and told.said == "256: low"


def test_a_clock_behind_our_own_files_is_a_warning():
    assert places.check_clock().mark == "ok"
    assert places.check_clock(0.0).mark == "warn"


def test_a_control_group_below_the_cores_is_seen(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1000000000\n")
    none = tmp_path / "none"
    assert quota(tmp_path, none) == 1.5 and memory_limit(tmp_path, none) == 1e9
    assert check_cores(8, 4, 1.5).mark == check_memory(8 << 30, 1e9).mark == "warn"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert quota(tmp_path, none) == memory_limit(tmp_path, none) == float("inf")
    assert check_cores(8, 4, float("inf")).mark == "ok"


def test_the_tightest_control_group_above_this_process_counts(tmp_path):
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "job/memory.max").write_text("2000000000")
    (tmp_path / "job/step/memory.max").write_text("max")
    (tmp_path / "job/step/cpu.max").write_text("400000 100000")
    (tmp_path / "two").write_text("0::/job/step\n")
    assert memory_limit(tmp_path, tmp_path / "two") == 2e9
    assert quota(tmp_path, tmp_path / "two") == 4
    (tmp_path / "memory/job").mkdir(parents=True)
    (tmp_path / "memory/job/memory.limit_in_bytes").write_text("1000000000")
    (tmp_path / "memory/memory.limit_in_bytes").write_text(str(2**63 - 4096))
    (tmp_path / "one").write_text("7:blkio:/x\n4:memory:/job\n")
    assert memory_limit(tmp_path, tmp_path / "one") == 1e9


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("OMP_NUM_THREADS", "abc", "bad"),
        ("OMP_NUM_THREADS", "0", "bad"),
        ("OMP_NUM_THREADS", "9", "warn"),
        ("OMP_NUM_THREADS", "1", "warn"),
        ("OMP_NUM_THREADS", "4,2", "ok"),
        ("OMP_PROC_BIND", "close", "warn"),
        ("OMP_PROC_BIND", "false", "ok"),
        ("CUDA_VISIBLE_DEVICES", "", "warn"),
        ("CUDA_VISIBLE_DEVICES", "0", "ok"),
        ("PYTHONOPTIMIZE", "1", "warn"),
        ("NUMBA_DISABLE_JIT", "1", "warn"),
        ("NUMBA_DISABLE_JIT", "0", "ok"),
        ("NCCL_SOCKET_IFNAME", "eth", "ok"),
        ("NCCL_SOCKET_IFNAME", "=eth", "warn"),
        ("NCCL_SOCKET_IFNAME", "^lo", "ok"),
        ("NCCL_SOCKET_IFNAME", "^lo,eth", "warn"),
        ("GLOO_SOCKET_IFNAME", "eth", "warn"),
        ("GLOO_SOCKET_IFNAME", "eth0", "ok"),
        ("HTTPS_PROXY", "http://x", "note"),
    ],
)
def test_a_trap_is_known_by_its_value(name, value, mark):
    (found,) = check_environment({name: value, "OTHER": "x"}, 4, ["eth0", "lo"])
    assert found.mark == mark


def test_no_variable_is_read_but_those_on_the_list():
    class Watched(dict):
        asked: set[str] = set()  # noqa: RUF012

        def __getitem__(self, name):
            self.asked.add(name)
            return super().__getitem__(name)

    environment = Watched(dict.fromkeys([*SHOWN, *PRESENCE, "HF_TOKEN", "SECRET"], "1"))
    check_environment(environment, 4, [])
    assert environment.asked <= set(SHOWN)
