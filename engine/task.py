"""The contract between the one trainer and what is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from ..dataloaders.batch import Batch

Forward = Callable[[Batch], Any]
"""The model on `batch.image`, in the plan's precision and under the strategy's wrapper."""
Rows = dict[str, Tensor]


class Task(Protocol):
    """A frozen dataclass of plain values, so that a recipe holds it, with these methods.

    Losses are sums and counts come from ground truth only, under the same keys: the trainer
    divides by the global count, so accumulation and the number of ranks change nothing.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    def plain(self) -> dict[str, Any]:
        """Plain values for `recipe.json`; a model that is code by its name and hash."""

    def identity(self) -> dict[str, Any]:
        """Plain values for the recipe's hash: pretrained weights by content, not by place."""

    def untrained(self) -> Task:
        """The same task without pretrained weights: for a model that gets others at once."""

    def build(self, channels: int) -> nn.Module:
        """A new model for images of (N,channels,S,S), drawn from torch's global generator."""

    def count(self, batch: Batch) -> dict[str, Tensor]:
        """() tensors: how many terms each loss of this batch sums, known before the model runs."""

    def loss(self, forward: Forward, batch: Batch) -> dict[str, Tensor]:
        """() tensors: sums over the valid part of `batch.image`, keys as in `count`.

        Where images were mixed, `batch.target` has "partner" and "share" (`mixing.mixed`).
        """

    def score(self, forward: Forward, batch: Batch) -> Rows:
        """Tensors whose first dimension is N: one row per image, padding included."""

    def summary(self, rows: Rows) -> dict[str, float]:
        """What a person reads, from the rows of a whole split."""

    def confusion(self, rows: Rows) -> Tensor:
        """(K,K) int64 counts with the truth in rows; (0,0) where a task has no such thing."""
