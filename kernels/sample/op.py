"""`sample`: from raw pixels of any size to the finished batch, in one call.

Legend: N images, S side of the output, K channels of the output, P columns of the parameters.

    rows = resolve(augment, shape, 224, seed=1, epoch=epochs, index=indices)
    batch = sample(pixels, start, shape, rows, size=224, channels=3, mean=..., std=...)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..library import register
from ..op import Op
from .augment import Augment
from .checks import check_call
from .columns import HEIGHT, ONE, WIDTH
from .examples import examples
from .params import plain
from .reference import reference


def _empty(
    pixels: torch.Tensor, start: torch.Tensor, size: int, channels: int,
    dtype: torch.dtype = torch.float32, parts: int = 1, **_: object,
) -> torch.Tensor:  # fmt: skip
    room = (start.shape[0] // parts, size, size, channels)
    return pixels.new_empty(room, dtype=dtype).permute(0, 3, 1, 2)


@register(_empty)
def sample(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    table: torch.Tensor | None = None,
    parts: int = 1,
    steps: int | None = None,
    threads: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,) int64, (N,3) int32, (N,P) int32 -> (N/parts,K,S,S) `dtype`.

    Image n is the `shape[n]` = (H,W,C) pixels from `start[n]` on, C = 1 or 3, channels last;
    `params` are the columns of `columns.py`. `mean` and `std` have K = `channels` numbers on the
    scale 0 to 1. The result is stored channels-last; `out` (of such strides) is filled if given,
    and sets the dtype. `table`, (256,) or (65536,) float32, gives the light of each raw level in
    place of level / 255 or / 65,535. `parts` rows in turn write one output. `steps` says which of
    them a card may leave out (`steps.possible`; None: none). `threads` defaults to torch's own
    number. float64 holds float32 results. torch.compile sees one operation, `foveate::sample`.

    ValueError for wrong shapes, dtypes, strides, or images that lie outside `pixels`;
    NotImplementedError for a device that has no back end.
    """
    given: dict[str, Any] = {"size": size, "channels": channels, "mean": mean, "std": std}
    given |= {"table": table, "parts": parts, "steps": steps, "threads": threads}
    return SAMPLE.run(pixels, start, shape, params, dtype=dtype, out=out, **given)


def warm(dtype: torch.dtype = torch.uint8) -> None:
    """Compile the CPU back end for pixels of this dtype, or load it: 19 s of CPU, then 0.5 s.

    Call it before a clock starts. One compilation serves every size, channel count and output.
    """
    pixels = torch.zeros(1, dtype=dtype)
    start, shape = torch.zeros(1, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int32)
    rows = torch.from_numpy(plain(Augment(), shape, 1))
    sample(pixels, start, shape, rows, size=1, channels=1, mean=(0.0,), std=(1.0,), threads=1)


def traffic(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    dtype: torch.dtype = torch.float32,
    parts: int = 1,
    **_: object,
) -> int:
    """Bytes of the windows plus bytes of the output, each counted once."""
    window = (params[:, HEIGHT].double() / ONE).ceil() * (params[:, WIDTH].double() / ONE).ceil()
    read = int((window * shape[:, 2]).sum()) * pixels.element_size()
    return read + len(start) // parts * size * size * channels * dtype.itemsize


def on_cpu(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    table: torch.Tensor | None = None,
    parts: int = 1,
    steps: int | None = None,
    threads: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Check the arguments, then call the numba back end."""
    from . import cpu

    out = check_call(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        dtype=dtype, table=table, parts=parts, out=out,
    )  # fmt: skip
    return cpu.fused(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        table=table, parts=parts, out=out,
        threads=torch.get_num_threads() if threads is None else threads,
    )  # fmt: skip


def on_triton(*args: torch.Tensor, **settings: Any) -> torch.Tensor:
    """The Triton back end, imported when it is first called."""
    from . import triton

    return triton.on_card(*args, **settings)


def on_cuda(pixels: torch.Tensor, *rest: torch.Tensor, **settings: Any) -> torch.Tensor:
    """The CUDA C++ back end: arguments as `sample` has them, on a card. Compiles on first use."""
    from . import cuda

    return cuda.on_cuda(pixels, *rest, **settings)


BACKENDS = {"cpu": on_cpu, "triton": on_triton, "cuda": on_cuda}
SAMPLE = Op("sample", reference, BACKENDS, examples, traffic)
