"""What the machine does while a run trains: a line of `metrics.jsonl` every ten seconds.

Read from the clock, /proc and NVML, no package of its own: MLflow's sampler wants psutil and would
write to MLflow alone. What a system does not tell is left out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..tracking.metrics import Tracker
from .journal import Journal

EVERY_S = 10.0


class Sampler:
    """A thread that logs lines of kind "system" while its block runs, and one at the end.

    Shares are percent: `cpu_percent` is 100 when this process keeps all its cores busy.
    """

    def __init__(self, tracker: Tracker, journal: Journal) -> None:
        self._tracker, self._journal = tracker, journal
        self._over = threading.Event()
        self._before = _clocks()
        self._cards = _Cards()
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        over = False
        while not over:
            over = self._over.wait(EVERY_S)
            self._tracker.log("system", self._journal.step, **self._read())

    def _read(self) -> dict[str, float]:
        before, self._before = self._before, _clocks()
        wall_s, own_s, busy, ticks = (b - a for a, b in zip(before, self._before, strict=True))
        values = {"cpu_percent": 100 * own_s / max(wall_s, 1e-9) / _cores()}
        if ticks:
            values["machine_cpu_percent"] = 100 * busy / ticks
        values |= _memory() | self._cards.read()
        return {name: round(value, 1) for name, value in values.items()}


class _Cards:
    """The GPUs that torch sees, through NVML where nvidia-ml-py and a driver are there."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        if not torch.cuda.is_available():
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            for number in range(torch.cuda.device_count()):
                name = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
                self._handles.append(pynvml.nvmlDeviceGetHandleByUUID(name))
        except Exception:  # not installed, no driver, no right to ask: no lines about GPUs
            self._handles = []

    def read(self) -> dict[str, float]:
        """Per card: share of time busy, memory in use, watts, degrees."""
        found: dict[str, float] = {}
        for number, handle in enumerate(self._handles):
            found |= {f"gpu_{number}_{name}": value for name, value in _read_card(handle).items()}
        return found


def _read_card(handle: Any) -> dict[str, float]:
    import pynvml

    asked: dict[str, Callable[[], float]] = {
        "percent": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "memory_mb": lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
        "power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "celsius": lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
    }
    found = {}
    for name, ask in asked.items():
        try:
            found[name] = float(ask())
        except pynvml.NVMLError:  # a virtual GPU tells less
            continue
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clocks() -> tuple[float, float, float, float]:
    """(wall s, CPU s of this process, busy ticks and all ticks of the machine's cores)."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        ticks = [float(word) for word in words]
    except (OSError, ValueError):
        ticks = [0.0] * 5
    idle = sum(ticks[3:5])  # idle and waiting for a disk
    return time.monotonic(), time.process_time(), sum(ticks) - idle, sum(ticks)


def _memory() -> dict[str, float]:
    """Resident memory of this process, and what the machine has left."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return {}
    return {"rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6, "memory_left_mb": left / 1e3}
