"""The processes of a run: who this one is, and the few words they exchange about control.

Gradients travel inside the strategy, over NCCL or gloo. What is here goes over gloo on the CPU
always, so that asking "does anybody want to stop?" never waits for a GPU. Tensors only: an object
collective would unpickle what another process sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT_S = 600
"""For a collective of the training: a rank that is silent for so long is gone."""
PATIENCE_S = 7 * 24 * 3600
"""While one process of a machine draws or packs a data set. One that dies is noticed at once."""


@dataclass(frozen=True)
class World:
    """Rank `rank` of `size` processes, `local` of those on its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1
    group: Any = None
    """The control group (gloo); None where there is one process."""
    patient: Any = None
    """The same for waits that may be long."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder and speaks."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether any process says yes; the same answer everywhere."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, values: list[float]) -> list[float]:
        """Element by element over all processes, in float64."""
        if self.group is None:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return total.tolist()

    def from_leader(self, value: int) -> int:
        """The leader's whole number, everywhere."""
        if self.group is None:
            return value
        told = torch.tensor([value])
        dist.broadcast(told, src=0, group=self.group)
        return int(told)

    def gather(self, tensor: Tensor) -> Tensor:
        """(n,...) on the CPU, of one shape on every rank -> (size*n,...), by rank."""
        if self.group is None:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous(), group=self.group)
        return torch.cat(parts)

    def wait(self) -> None:
        """Until every process is here."""
        self.sum([0.0])

    @contextmanager
    def first_on_each_machine(self) -> Iterator[None]:
        """Run the block on one process per machine, then on the others, who find its work done."""
        if self.local:
            self._wait_long()
        yield
        if not self.local:
            self._wait_long()

    def _wait_long(self) -> None:
        if self.patient is not None:
            dist.all_reduce(torch.zeros(1), group=self.patient)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """The world that torchrun's environment describes, joined for as long as the block lasts."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda":
        torch.cuda.set_device(local)
    timeout = timedelta(seconds=TIMEOUT_S)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=timeout)
    try:
        group = dist.new_group(backend="gloo", timeout=timeout)
        patient = dist.new_group(backend="gloo", timeout=timedelta(seconds=PATIENCE_S))
        yield World(rank, size, local, local_size, group, patient)
    finally:
        dist.destroy_process_group()
