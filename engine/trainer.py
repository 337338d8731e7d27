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
from ..dataloaders.feed.feed import Feed
from ..kernels.sample.op import sample
from ..kernels.sample.steps import ALL, needed
from .ema import Ema
from .mixing import is_mixed, mixed
from .plan import Plan
from .ranks.rows import gather
from .ranks.world import World
from .schedule import size_at
from .strategy import make_strategy
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

    def __init__(self, plan: Plan, world: World | None = None) -> None:
        self.plan, self.recipe, self.task = plan, plan.recipe, plan.recipe.task
        self.world = world or World()
        self.device = torch.device(plan.machine.device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", self.world.local)
        torch.set_num_threads(plan.machine.threads)
        torch.backends.cudnn.deterministic = True  # a resumed run is bit-equal, on a GPU too
        torch.manual_seed(self.recipe.seed)
        with self.world.first_on_each_machine():  # pretrained weights are downloaded once
            model = self.task.build(self.recipe.data.channels).to(self.device)
        self.plain = model.double() if plan.precision == "fp64" else model
        self.strategy = make_strategy(plan, self.world, self.device)
        self.model, self.optimizer = self.strategy.setup(self.plain, self.recipe.optimizer)
        self.ema = Ema(self.plain, self.recipe.ema)
        self.rates = torch.tensor(plan.lr, dtype=torch.float32, device=self.device)
        self.step = 0

    def steps(self, feed: Feed) -> Iterator[Report]:
        """Train, one optimizer step per turn. Stop by leaving the loop."""
        plan, model = self.plan, self.model
        feed.ahead(self._stretches())
        while self.step < plan.steps:
            size = size_at(plan.resolutions, self.step)
            for group in self.optimizer.param_groups:
                group["lr"].copy_(self.rates[self.step])
            model.train()
            counts = self._counts(feed)
            losses = {name: torch.zeros((), device=self.device) for name in counts}
            wait_s = 0.0
            for turn in range(plan.accumulate):
                began = time.perf_counter()
                batch = self._next(feed, size, turn)
                wait_s += time.perf_counter() - began
                last = turn == plan.accumulate - 1
                with nullcontext() if last else self.strategy.accumulate(model):
                    parts = self.task.loss(self.forward, batch)
                    parts = {name: part / counts[name] for name, part in parts.items()}
                    self.strategy.backward(model, _sum(parts))
                losses = {name: losses[name] + part.detach() for name, part in parts.items()}
            norm = self.strategy.step(model, self.optimizer, self.recipe.optimizer.clip)
            self.step += 1
            self.ema.update(self.plain, self.step)
            yield Report(self.step, size, losses, self.rates[self.step - 1], norm, wait_s)

    @torch.inference_mode()
    def evaluate(self, feed: Feed, together: int = 0) -> Rows:
        """Rows of every image of `feed` once, in manifest order; the same on every rank.

        `together` images go through the model at a time, by default twice a micro-batch.
        """
        self.plain.eval()
        found = []
        world, length = self.world, together or 2 * self.plan.micro
        with self.ema.applied(self.plain):
            for raw in feed.once(length, self.recipe.size, rank=world.rank, world=world.size):
                batch = self.prepare(raw)
                found.append(self.task.score(self._forward_plain, batch) | _keys(batch))
        return gather(found, world)

    def forward(self, batch: Batch) -> Any:
        """What the model gives for `batch.image` (N,C,S,S), in the plan's precision."""
        with self._autocast():
            return self.model(batch.image)

    def _forward_plain(self, batch: Batch) -> Any:
        """The same without the strategy's wrapper: evaluation exchanges no gradients."""
        with self._autocast():
            return self.plain(batch.image)

    def prepare(self, batch: Batch) -> Batch:
        """Raw pixels -> the batch on the device: images cut, resized, normalised, and mixed."""
        data, mixing, steps = self.recipe.data, is_mixed(batch), ALL
        if batch.pixels.is_cuda:
            steps = needed(batch.params, batch.shape, batch.size)
            batch = batch.to(self.device)
        image = sample(
            batch.pixels,
            batch.start,
            batch.shape,
            batch.params,
            size=batch.size,
            channels=data.channels,
            mean=_spread(data.mean, data.channels),
            std=_spread(data.std, data.channels),
            dtype=DTYPES[self.plan.precision],
            threads=self.plan.machine.threads,
            steps=steps,
        )
        made = replace(batch, image=image).to(self.device)
        return mixed(made) if mixing else made

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as flat tensors."""
        return self.strategy.state(self.model, self.optimizer) | self.ema.state(self.plain)

    def load(self, state: dict[str, Tensor], step: int) -> None:
        """Go on after `step` as if the run had never stopped."""
        self.strategy.load(self.model, self.optimizer, state)
        self.ema.load(self.plain, state)
        self.step = step

    def weights(self, scored: bool = False) -> dict[str, Tensor]:
        """The last step's weights by name; `scored`: with the average in place, if there is one."""
        with self.ema.applied(self.plain) if scored else nullcontext():
            return {name: value.clone() for name, value in self.plain.state_dict().items()}

    def adopt(self, weights: dict[str, Tensor]) -> None:
        """Take weights to score with; the average is dropped, so the run cannot go on."""
        self.plain.load_state_dict(weights)
        self.ema = Ema(self.plain, 0.0)

    def _counts(self, feed: Feed) -> dict[str, Tensor]:
        """Global divisors of this step: from ground truth only, so every rank knows them."""
        first = self.step * self.recipe.batch
        return self.task.count(feed.peek(first, self.recipe.batch).to(self.device))

    def _next(self, feed: Feed, size: int, turn: int) -> Batch:
        """This rank's micro-batch number `turn` of the step, which is one norm_group.

        Dropout and the like draw from a seed that belongs to the group, whoever computes it.
        """
        group = self.world.rank * self.plan.accumulate + turn
        batch = self.prepare(feed.train(*self.plan.stretch(self.step, group), size))
        torch.manual_seed(_mix(self.recipe.seed, self.step, group))
        return batch

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """What this rank will ask its feed for, to the end of the run."""
        own = self.world.rank * self.plan.accumulate
        for step in range(self.step, self.plan.steps):
            for turn in range(self.plan.accumulate):
                yield self.plan.stretch(step, own + turn)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.plan.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _keys(batch: Batch) -> Rows:
    return {"index": batch.index, "valid": batch.valid}


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) == channels else values * channels


def _mix(seed: int, step: int, group: int) -> int:
    """A 63-bit seed for one norm_group: the same after a resume and on any rank."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + group) & (1 << 63) - 1
