"""The one training loop, for every task, strategy and device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..dataloaders.batch import Batch
from ..dataloaders.feed import Feed
from ..kernels.sample.op import sample
from .ema import Ema
from .plan import Plan
from .rows import gather
from .schedule import size_at
from .strategy import Single
from .task import Rows

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True)
class Report:
    """One optimizer step, as device scalars: reading them waits for the device."""

    step: int
    """Steps done, counted from 1."""
    size: int
    losses: dict[str, Tensor]
    lr: Tensor
    grad_norm: Tensor
    wait_s: float
    """Host seconds that the step waited for its batches."""


class Trainer:
    """Model, optimizer and position of a run. `steps()` trains, `evaluate()` scores."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.recipe, self.task = plan, plan.recipe, plan.recipe.task
        self.device = torch.device(plan.machine.device)
        torch.set_num_threads(plan.machine.threads)
        torch.backends.cudnn.deterministic = True  # a resumed run is bit-equal, on a GPU too
        torch.manual_seed(self.recipe.seed)
        model = self.task.build(self.recipe.data.channels).to(self.device)
        model = model.double() if plan.precision == "fp64" else model
        self.strategy = Single()
        self.model, self.optimizer = self.strategy.setup(model, self.recipe.optimizer)
        self.ema = Ema(self.model, self.recipe.ema)
        self.rates = torch.tensor(plan.lr, dtype=torch.float32, device=self.device)
        self.step = 0

    def steps(self, feed: Feed) -> Iterator[Report]:
        """Train, one optimizer step per turn. Stop by leaving the loop."""
        plan, model = self.plan, self.model
        while self.step < plan.steps:
            size = size_at(plan.resolutions, self.step)
            for group in self.optimizer.param_groups:
                group["lr"].copy_(self.rates[self.step])
            model.train()
            began = time.perf_counter()
            window = self._window(feed, size)
            wait_s = time.perf_counter() - began
            counts = _total([self.task.count(batch) for batch in window])
            losses = {name: torch.zeros((), device=self.device) for name in counts}
            for turn, batch in enumerate(window):
                last = turn == len(window) - 1
                torch.manual_seed(_mix(self.recipe.seed, self.step, turn))  # dropout and the like
                with nullcontext() if last else self.strategy.accumulate(model):
                    parts = self.task.loss(self.forward, batch)
                    parts = {name: part / counts[name] for name, part in parts.items()}
                    self.strategy.backward(model, _sum(parts))
                losses = {name: losses[name] + part.detach() for name, part in parts.items()}
            norm = self.strategy.step(model, self.optimizer, self.recipe.optimizer.clip)
            self.step += 1
            self.ema.update(model, self.step)
            yield Report(self.step, size, losses, self.rates[self.step - 1], norm, wait_s)

    @torch.inference_mode()
    def evaluate(self, feed: Feed) -> Rows:
        """Rows of every image of `feed` once, in manifest order, without padding."""
        self.model.eval()
        found = []
        with self.ema.applied(self.model):
            for raw in feed.once(2 * self.plan.micro, self.recipe.size):
                batch = self.prepare(raw)
                found.append(self.task.score(self.forward, batch) | _keys(batch))
        return gather(found)

    def forward(self, batch: Batch) -> Any:
        """What the model gives for `batch.image` (N,C,S,S), in the plan's precision."""
        with self._autocast():
            return self.model(batch.image)

    def prepare(self, batch: Batch) -> Batch:
        """Raw pixels -> the batch on the device with its images cut, resized and normalised."""
        data, pinned = self.recipe.data, self.device.type == "cuda"
        shape = (len(batch.index), batch.size, batch.size, data.channels)
        room = torch.empty(shape, dtype=DTYPES[self.plan.precision], pin_memory=pinned)
        image = sample(
            batch.pixels,
            batch.start,
            batch.shape,
            batch.params,
            size=batch.size,
            channels=data.channels,
            mean=_spread(data.mean, data.channels),
            std=_spread(data.std, data.channels),
            threads=self.plan.machine.threads,
            out=room.permute(0, 3, 1, 2),
        )
        return replace(batch, image=image).to(self.device)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as flat tensors."""
        return self.strategy.state(self.model, self.optimizer) | self.ema.state(self.model)

    def load(self, state: dict[str, Tensor], step: int) -> None:
        """Go on after `step` as if the run had never stopped."""
        self.strategy.load(self.model, self.optimizer, state)
        self.ema.load(self.model, state)
        self.step = step

    def weights(self, scored: bool = False) -> dict[str, Tensor]:
        """The last step's weights by name; `scored`: with the average in place, if there is one."""
        with self.ema.applied(self.model) if scored else nullcontext():
            return {name: value.clone() for name, value in self.model.state_dict().items()}

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Take weights to score with; the average is dropped, so the run cannot go on."""
        self.model.load_state_dict(weights)
        self.ema = Ema(self.model, 0.0)

    def _window(self, feed: Feed, size: int) -> list[Batch]:
        first = self.step * self.recipe.batch
        micro = self.plan.micro
        starts = range(first, first + self.recipe.batch, micro)
        return [self.prepare(feed.train(start, micro, size)) for start in starts]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.plan.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _keys(batch: Batch) -> Rows:
    return {"index": batch.index, "valid": batch.valid}


def _total(counts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Global divisors: they come from ground truth only, so every rank knows them."""
    return {name: torch.stack([c[name] for c in counts]).sum() for name in counts[0]}


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else values * channels


def _mix(seed: int, step: int, turn: int) -> int:
    """A 63-bit seed for one micro-batch: the same after a resume, whatever ran before."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + turn) & (1 << 63) - 1
