"""How fast a run is: images a second between synchronised edges, and what share the model used."""

from __future__ import annotations

import copy
import resource
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Meter:
    """Counts images and seconds between readings. A reading waits for the device first."""

    def __init__(self, device: torch.device, rate: float) -> None:
        self.device, self.rate = device, rate
        self._began = time.perf_counter()
        self._images, self._wait_s, self._flops = 0, 0.0, 0.0

    def add(self, images: int, wait_s: float, flops: float) -> None:
        """One step: its images, the seconds it waited for them, its floating point operations."""
        self._images += images
        self._wait_s += wait_s
        self._flops += flops

    def read(self) -> dict[str, float]:
        """images/s, share of time waiting for data, share of the matrix rate, memory in MB."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        seconds = max(now - self._began, 1e-9)
        values = {
            "images_per_s": round(self._images / seconds, 2),
            "wait": round(self._wait_s / seconds, 4),
            "mfu": round(self._flops / seconds / self.rate, 4) if self.rate else 0.0,
            "memory_mb": round(_memory_mb(self.device), 1),
        }
        self.restart()
        return values

    def restart(self) -> None:
        """Begin a new interval, so that an evaluation or a save is not counted as training."""
        self._began = time.perf_counter()
        self._images, self._wait_s, self._flops = 0, 0.0, 0.0


def training_flops(model: nn.Module, channels: int, size: int) -> float:
    """FLOPs to train on one image: forward counted operator by operator, times three."""
    ghost = copy.deepcopy(model).to("meta").eval()
    dtype = next(model.parameters()).dtype
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        ghost(torch.empty(1, channels, size, size, device="meta", dtype=dtype))
    return 3.0 * counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """FLOP/s of a 1,024 (CPU) or 8,192 (GPU) square matrix product, the fastest of many.

    Of random numbers, from a generator of its own: on ones a GPU draws less power and runs faster.
    """
    side = 8192 if device.type == "cuda" else 1024
    draw = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, device=device, generator=draw).to(dtype) for _ in range(2))
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * side**3 / fastest


def describe(values: dict[str, Any]) -> str:
    """The step line."""
    return (
        f"{values['size']} px  loss {values['loss']:.3f}  lr {values['lr']:.2g}  "
        f"grad {values['grad_norm']:.2f}  {values['images_per_s']:.1f} img/s  "
        f"wait {values['wait']:.1%}  mfu {values['mfu']:.0%}  {values['memory_mb']:.0f} MB  "
        f"eta {values['eta_s']:.0f} s"
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
