"""How one model is trained by one or many processes: six methods, one class per answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..dataloaders.errors import StorageError
from .plan import Plan
from .ranks.running import Running
from .ranks.world import World
from .recipe import Optimizer as Settings

State = dict[str, Tensor]
MakeOptimizer = Callable[[Iterable[dict[str, Any]]], Optimizer]


class Strategy(Protocol):
    """The trainer knows these six methods and nothing of what is behind them."""

    def setup(self, model: nn.Module, settings: Settings) -> tuple[nn.Module, Optimizer]:
        """Wrap the model and make its optimizer."""

    def accumulate(self, model: nn.Module) -> AbstractContextManager[None]:
        """Within it, gradients are added up and do not cross the network."""

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        """Add the gradients of `loss`, already divided by the global count."""

    def step(self, model: nn.Module, optimizer: Optimizer, clip: float) -> Tensor:
        """Clip, update, clear. Returns the () gradient norm before clipping."""

    def state(self, model: nn.Module, optimizer: Optimizer) -> State:
        """Flat name -> tensor, names without wrappers, the same for every strategy."""

    def load(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        """Put a `state` back. Raises StorageError where it does not fit."""


class Single:
    """One process, one device."""

    def setup(self, model: nn.Module, settings: Settings) -> tuple[nn.Module, Optimizer]:
        return model, make_optimizer(model, settings)

    def accumulate(self, model: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        loss.backward()

    def step(self, model: nn.Module, optimizer: Optimizer, clip: float) -> Tensor:
        return update(model, optimizer, clip)

    def state(self, model: nn.Module, optimizer: Optimizer) -> State:
        return state_of(model, optimizer)

    def load(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        load_into(model, optimizer, state)


class Replicated:
    """Data parallel: each rank has the whole model, gradients are summed while backward runs.

    Batch statistics are each norm_group's own; running statistics are folded over the groups in
    their global order, so they too are those of one process.
    """

    def __init__(self, world: World, accumulate: int, device: torch.device) -> None:
        self.world, self.device = world, device
        self.groups = accumulate
        self.running: Running | None = None

    def setup(self, model: nn.Module, settings: Settings) -> tuple[nn.Module, Optimizer]:
        ids = [self.device.index or 0] if self.device.type == "cuda" else None
        # Statistics are folded here, not overwritten by rank 0.
        quiet: dict[str, Any] = {_buffers_flag(): False}
        wrapped = DistributedDataParallel(
            model, device_ids=ids, gradient_as_bucket_view=True, **quiet
        )
        self.running = Running(model, self.world, self.groups)
        return wrapped, make_optimizer(model, settings)

    def accumulate(self, model: nn.Module) -> AbstractContextManager[None]:
        return model.no_sync()  # type: ignore[operator]

    def backward(self, model: nn.Module, loss: Tensor) -> None:
        (loss * self.world.size).backward()  # DDP averages over ranks; the loss is divided already

    def step(self, model: nn.Module, optimizer: Optimizer, clip: float) -> Tensor:
        norm = update(model, optimizer, clip)
        assert self.running is not None, "setup comes first"
        self.running.fold()
        return norm

    def state(self, model: nn.Module, optimizer: Optimizer) -> State:
        return state_of(model.module, optimizer)  # type: ignore[arg-type]

    def load(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        load_into(model.module, optimizer, state)  # type: ignore[arg-type]
        assert self.running is not None, "setup comes first"
        self.running.keep()


def _buffers_flag() -> str:
    """What DDP calls the copying of buffers in forward: renamed in torch 2.14."""
    known = signature(DistributedDataParallel.__init__).parameters
    return "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"


def make_strategy(plan: Plan, world: World, device: torch.device) -> Strategy:
    """The strategy that the plan names."""
    return Replicated(world, plan.accumulate, device) if plan.strategy == "ddp" else Single()


def update(model: nn.Module, optimizer: Optimizer, clip: float) -> Tensor:
    """Clip, update, clear -> () norm of the whole gradient before clipping."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def state_of(model: nn.Module, optimizer: Optimizer) -> State:
    """Flat "model.<name>" and "optimizer.<parameter>.<key>" -> tensor."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            state[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    return state


def load_into(model: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Put a `state_of` back. Raises StorageError where it does not fit."""
    weights = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise StorageError(f"the checkpoint does not fit the model: {error}") from None
    for name, parameter in model.named_parameters():
        start = f"optimizer.{name}."
        mine = {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
        # The fused optimizers keep their step count where the parameter is.
        optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in mine.items()}


def make_optimizer(model: nn.Module, settings: Settings) -> Optimizer:
    """torch's fused optimizer with the recipe's settings; its learning rate is a device scalar."""
    device = next(model.parameters()).device
    lr = torch.tensor(settings.lr, dtype=torch.float32, device=device)
    groups = _groups(model, settings)
    if settings.kind == "sgd":
        return torch.optim.SGD(
            groups, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov, fused=True
        )
    return torch.optim.AdamW(groups, lr=lr, betas=settings.betas, eps=settings.eps, fused=True)


def _groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        plain = settings.decay_norm_and_bias or parameter.dim() > 1
        (decayed if plain else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
