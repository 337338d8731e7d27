"""`sample` as torch sees it: `foveate::sample` and `foveate::sample_into`, opaque, shapes known.

So torch.compile puts one call into its graph instead of breaking it, and a CUDA graph records the
launches inside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..op import OPS


@torch.library.custom_op("foveate::sample", mutates_args=())
def made(
    pixels: Tensor, start: Tensor, shape: Tensor, params: Tensor, table: Tensor | None, size: int,
    channels: int, mean: list[float], std: list[float], dtype: torch.dtype, parts: int,
    steps: int | None, threads: int | None,
) -> Tensor:  # fmt: skip
    """As `op.sample`, without `out`."""
    return OPS["sample"].run(
        pixels, start, shape, params, table=table, size=size, channels=channels, mean=mean,
        std=std, dtype=dtype, parts=parts, steps=steps, threads=threads,
    )  # fmt: skip


@made.register_fake
def _(
    pixels: Tensor, start: Tensor, shape: Tensor, params: Tensor, table: Tensor | None, size: int,
    channels: int, mean: list[float], std: list[float], dtype: torch.dtype, parts: int,
    steps: int | None, threads: int | None,
) -> Tensor:  # fmt: skip
    room = (start.shape[0] // parts, size, size, channels)
    return pixels.new_empty(room, dtype=dtype).permute(0, 3, 1, 2)


@torch.library.custom_op("foveate::sample_into", mutates_args=("out",))
def filled(
    pixels: Tensor, start: Tensor, shape: Tensor, params: Tensor, table: Tensor | None, size: int,
    channels: int, mean: list[float], std: list[float], parts: int, steps: int | None,
    threads: int | None, out: Tensor,
) -> None:  # fmt: skip
    """As `op.sample` with `out`."""
    OPS["sample"].run(
        pixels, start, shape, params, table=table, size=size, channels=channels, mean=mean,
        std=std, parts=parts, steps=steps, threads=threads, out=out,
    )  # fmt: skip


def call(*images: Tensor, dtype: torch.dtype, out: Tensor | None, **settings: Any) -> Tensor:
    """Either operation, with the arguments of `op.sample`."""
    settings |= {name: list(settings[name]) for name in ("mean", "std")}
    if out is None:
        return torch.ops.foveate.sample(*images, dtype=dtype, **settings)
    torch.ops.foveate.sample_into(*images, out=out, **settings)
    return out
