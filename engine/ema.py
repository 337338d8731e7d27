"""Moving average of the weights: what is scored, and often better than the last step's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """`average += (1 - decay) * (weights - average)` each step; buffers are not
    averaged: the average is scored with the last step's.

    The decay warms up as (1 + step) / (10 + step), so that a short run is not dragged back to its
    random start. Decay 0 keeps no copy at all.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = [p.detach().clone() for p in model.parameters()] if decay else []

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 1."""
        if self.average:
            decay = min(self.decay, (1 + step) / (10 + step))
            weights = [p.detach() for p in model.parameters()]
            torch._foreach_lerp_(self.average, weights, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        for average, weight in zip(self.average, model.parameters(), strict=False):
            kept = average.clone()
            average.copy_(weight)
            weight.copy_(kept)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Flat "ema.<name>" -> tensor; empty where nothing is averaged."""
        names = [name for name, _ in model.named_parameters()]
        return {f"ema.{n}": v for n, v in zip(names, self.average, strict=False)}

    def load(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Put a `state` back."""
        for name, average in zip(dict(model.named_parameters()), self.average, strict=False):
            average.copy_(state[f"ema.{name}"])
