"""Running batch statistics over ranks, as one process would have them.

Batch normalisation folds each group's statistics into a running mean: r <- (1-m) r + m s. One
process does that for all groups of a step in order; W ranks do it for k groups each, all from the
same r. As folding is linear, rank q's result is d^k r + c_q with d = 1-m, and what one process
would have is d^(kW) r + sum over q of d^(k(W-1-q)) c_q: one small sum over ranks.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..failure import RecipeError
from .world import World

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Running:
    """The running statistics of a model's batch normalisation, folded after every step."""

    def __init__(self, model: nn.Module, world: World, groups: int) -> None:
        self.world, self.groups = world, groups
        self.layers = [m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats]
        if any(layer.momentum is None for layer in self.layers):
            raise RecipeError("batch normalisation with momentum None cannot be folded over ranks")
        self.before: list[Tensor] = []
        self.keep()

    def keep(self) -> None:
        """Remember the statistics that the next step starts from."""
        self.before = [value.clone() for value in self._values()]

    @torch.no_grad()
    def fold(self) -> None:
        """After a step: bring every rank to the statistics of all groups in their order."""
        if not self.layers:
            return
        k, world = self.groups, self.world.size
        parts, bases = [], []
        for value, before, decay in zip(self._values(), self.before, self._decays(), strict=True):
            contribution = value - decay**k * before
            parts.append(contribution * decay ** (k * (world - 1 - self.world.rank)))
            bases.append(decay ** (k * world) * before)
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        pieces = flat.split([part.numel() for part in parts])
        for value, base, piece in zip(self._values(), bases, pieces, strict=True):
            value.copy_(base + piece.view_as(base))
        for layer in self.layers:
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked += k * (world - 1)
        self.keep()

    def _values(self) -> list[Tensor]:
        found = [(layer.running_mean, layer.running_var) for layer in self.layers]
        return [value for pair in found for value in pair if value is not None]

    def _decays(self) -> list[float]:
        return [1 - (layer.momentum or 0.0) for layer in self.layers for _ in range(2)]
