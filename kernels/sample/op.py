"""`sample`: from raw pixels of any size to the finished batch, in one call.

Legend: N images, S side of the output, K channels of the output, P columns of the parameters.

    rows = resolve(augment, shape, 224, seed=1, epoch=epochs, index=indices)
    batch = sample(pixels, start, shape, rows, size=224, channels=3, mean=..., std=...)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..op import Op
from .examples import examples
from .params import COLUMNS, HEIGHT, LEFT, LONGEST, ONE, TOP, WIDTH, Q, plain
from .reference import reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


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
    threads: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,) int64, (N,3) int32, (N,P) int32 -> (N,K,S,S) `dtype`.

    Image n is the `shape[n]` = (H,W,C) pixels from `start[n]` on, C = 1 or 3, channels last;
    `params` are the columns of `params.py`. `mean` and `std` have K = `channels` numbers on the
    scale 0 to 1. The result is stored channels-last; `out` (of such strides) is filled if given,
    and sets the dtype. `threads` defaults to torch's own number. float64 holds float32 results.

    ValueError for wrong shapes, dtypes, strides, or images that lie outside `pixels`;
    NotImplementedError for a device that has no back end.
    """
    return SAMPLE.run(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        dtype=dtype, threads=threads, out=out,
    )  # fmt: skip


def warm(dtype: torch.dtype = torch.uint8) -> None:
    """Compile the CPU back end for pixels of this dtype, or load it: 8 s of CPU, then 0.6 s.

    Call it before a clock starts. One compilation serves every size, channel count and output.
    """
    pixels = torch.zeros(1, dtype=dtype)
    start, shape = torch.zeros(1, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int32)
    rows = torch.from_numpy(plain("squash", shape, 1))
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
    **_: object,
) -> int:
    """Bytes of the windows plus bytes of the output, each counted once."""
    window = (params[:, HEIGHT].double() / ONE).ceil() * (params[:, WIDTH].double() / ONE).ceil()
    read = int((window * shape[:, 2]).sum()) * pixels.element_size()
    return read + len(start) * size * size * channels * dtype.itemsize


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
    threads: int | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Check the arguments, then call the numba back end."""
    from . import cpu

    check_images(pixels, start, shape, params)
    check_levels(channels, mean, std)
    if out is None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {_names(DTYPES)}, got {dtype}")
        out = torch.empty(len(start), size, size, channels, dtype=dtype).permute(0, 3, 1, 2)
    check_out(out, (len(start), channels, size, size))
    return cpu.fused(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std, out=out,
        threads=torch.get_num_threads() if threads is None else threads,
    )  # fmt: skip


def check_images(
    pixels: torch.Tensor, start: torch.Tensor, shape: torch.Tensor, params: torch.Tensor
) -> None:
    """ValueError unless every image lies inside `pixels` and every window inside its image."""
    count = len(start)
    _check("pixels", pixels, (pixels.numel(),), (torch.uint8, torch.uint16))
    _check("start", start, (count,), (torch.int64,))
    _check("shape", shape, (count, 3), (torch.int32,))
    _check("params", params, (count, COLUMNS), (torch.int32,))
    if count == 0:
        return
    depth, sides = shape[:, 2].long(), shape[:, :2].long()
    if not bool(((depth == 1) | (depth == 3)).all()):
        raise ValueError("shape[:, 2] must be 1 or 3 channels")
    if sides.min() < 1 or sides.max() > LONGEST:
        raise ValueError(f"shape[:, :2] must be 1 to {LONGEST} pixels")
    if start.min() < 0 or (start + sides.prod(dim=1) * depth).max() > pixels.numel():
        raise ValueError(f"start and shape reach outside the {pixels.numel()} pixels there are")
    corner, window = params[:, [TOP, LEFT]].long(), params[:, [HEIGHT, WIDTH]].long()
    # Mip levels have floor(side / 2) pixels: a window may end less than a pixel beyond them.
    excess = corner + window - (sides << Q)
    if corner.min() < 0 or window.min() < 1 or excess.max() >= ONE:
        raise ValueError("a window in params reaches outside its image")


def check_levels(channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """ValueError unless there is one finite mean and one positive std per channel."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels or not all(math.isfinite(value) for value in values):
            raise ValueError(f"{name} must be {channels} finite numbers, got {values}")
    if min(std) <= 0:
        raise ValueError(f"std must be positive, got {std}")


def check_out(out: torch.Tensor, shape: tuple[int, ...]) -> None:
    """ValueError unless `out` has this shape (N,K,S,S), a known dtype and channels-last strides."""
    if not 1 <= shape[-1] <= LONGEST // 2:
        raise ValueError(f"size must be 1 to {LONGEST // 2} pixels, got {shape[-1]}")
    if not out.permute(0, 2, 3, 1).is_contiguous():
        raise ValueError(f"out must be stored channels-last, its strides are {out.stride()}")
    _check("out", out.permute(0, 2, 3, 1), (shape[0], shape[2], shape[3], shape[1]), DTYPES)


def _check(
    name: str, tensor: torch.Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...]
) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
        raise ValueError(
            f"{name} must be {shape} of {_names(dtypes)},"
            f" got {tuple(tensor.shape)} of {_names((tensor.dtype,))}"
        )
    if not tensor.is_contiguous() or tensor.device.type != "cpu":
        raise ValueError(f"{name} must be contiguous, on the CPU like the pixels")


def _names(dtypes: tuple[torch.dtype, ...]) -> str:
    return " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


SAMPLE = Op("sample", reference, {"cpu": on_cpu}, examples, traffic)
