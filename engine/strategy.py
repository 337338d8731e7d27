"""How one model is trained by one or many processes: six methods, one class per answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..dataloaders.errors import StorageError
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
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if clip:
            torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def state(self, model: nn.Module, optimizer: Optimizer) -> State:
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state[parameter].items():
                state[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
        return state

    def load(self, model: nn.Module, optimizer: Optimizer, state: State) -> None:
        weights = {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise StorageError(f"the checkpoint does not fit the model: {error}") from None
        for name, parameter in model.named_parameters():
            start = f"optimizer.{name}."
            mine = {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
            # All of it, AdamW's step count too: fused kernels read it on the device.
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
