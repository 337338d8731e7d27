"""What a card could do at best with a network: FLOPs and bytes, operation by operation.

Training one image in 16 bits, every tensor read and written once where an operation needs it and
no weight traffic (batches are large). Legend: I and O are the bytes that go in and out.

    convolution, linear   forward read I, write O; input gradient read O, write I; weight gradient
                          read I and O; 2 FLOPs a multiply-add in each
    batch norm            statistics read O; apply (with ReLU) read and write O; backward: sums
                          read O and its gradient, then both again and write one
    residual sum          forward read two and write one
    max-pool              forward read I, write O; backward read O, write I

An operation takes max(FLOPs / matrix rate, bytes / bandwidth), both measured on the card. The
"fused" bound leaves batch norm out: its statistics and apply ride on the convolutions around it,
which then read their own output once more in each of the two backward products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BYTES = 2  # a 16-bit activation


@dataclass(frozen=True)
class Operation:
    """One pass over tensors: per image, in training."""

    kind: str
    flops: float
    bytes: float


def operations(model: nn.Module, channels: int, size: int, fused: bool = False) -> list[Operation]:
    """Every operation of a training step on one (channels,size,size) image, traced on "meta"."""
    found: list[Operation] = []
    handles = [
        part.register_forward_hook(_record(found, fused))
        for part in model.modules()
        if not list(part.children()) or hasattr(part, "downsample")
    ]
    ghost = model.to("meta").eval()
    with torch.no_grad():
        ghost(torch.empty(1, channels, size, size, device="meta"))
    for handle in handles:
        handle.remove()
    return found


def _record(found: list[Operation], fused: bool) -> Callable[[nn.Module, tuple, Tensor], None]:
    def record(part: nn.Module, inputs: tuple, output: Tensor) -> None:
        read, write = BYTES * inputs[0].numel(), BYTES * output.numel()
        if isinstance(part, nn.Conv2d | nn.Linear):
            found.extend(_products(part, read, write, fused))
        elif isinstance(part, nn.BatchNorm2d) and not fused:
            passes = (("statistics", 1), ("apply", 2), ("sums", 2), ("gradient", 3))
            found.extend(Operation(f"norm {name}", 0, n * write) for name, n in passes)
        elif isinstance(part, nn.MaxPool2d):
            found.extend(Operation(f"pool {way}", 0, read + write) for way in ("there", "back"))
        elif hasattr(part, "downsample"):  # a residual block as a whole: its sum
            found.append(Operation("sum", 0, 3 * write))

    return record


def _products(part: nn.Conv2d | nn.Linear, read: int, write: int, fused: bool) -> list[Operation]:
    flops = 2 * (write / BYTES) * part.weight[0].numel()
    again = write if fused and isinstance(part, nn.Conv2d) else 0
    return [
        Operation("forward", flops, read + write),
        Operation("input gradient", flops, read + write + again),
        Operation("weight gradient", flops, read + write + again),
    ]


def flops(found: list[Operation]) -> float:
    """Sum over a list of operations."""
    return sum(one.flops for one in found)


def traffic(found: list[Operation]) -> float:
    """Sum of bytes over a list of operations."""
    return sum(one.bytes for one in found)


def images_per_s(found: list[Operation], rate: float, bandwidth: float) -> float:
    """The most images a second that FLOP/s and bytes/s allow."""
    return 1 / sum(max(one.flops / rate, one.bytes / bandwidth) for one in found)


def limited_by(found: list[Operation], rate: float, bandwidth: float) -> str:
    """The share of the bound that waits for memory, in words."""
    slow = [one.bytes / bandwidth for one in found if one.bytes / bandwidth > one.flops / rate]
    share = sum(slow) * images_per_s(found, rate, bandwidth)
    return f"{share:.0%} of it limited by memory"
