"""`sample` in CUDA C++: compiled for the card in about a second, kept, launched by the driver.

Legend: N images, S side of the output, K its channels, P columns of the parameters.

No torch header and no build step: `sample.cu` is compiled by NVRTC, which comes with torch, or by
nvcc, and goes to torch's current stream. Nothing waits for the card, so a call can be captured in
a graph, once the same call has been made outside of one (modules cannot be loaded in a capture).
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence

import torch

from ..driver import Module, load_module
from .checks import check_call
from .source import source

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
ACROSS, DOWN, THREADS = 64, 16, 256  # BX, BY and THREADS of tile.cuh
_LOCK = threading.Lock()


class Job(ctypes.Structure):
    """What every kernel of `sample.cu` is given; the struct of that name there."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("pixels", "start", "shape", "params")),
        *((name, ctypes.c_void_p) for name in ("table", "tile", "partial", "out")),
        ("count", ctypes.c_longlong),
        *((name, ctypes.c_int) for name in ("rows", "size", "channels", "parts", "kind", "wide")),
        ("mean", ctypes.c_float * 3),
        ("gain", ctypes.c_float * 3),
    ]


def fused(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    out: torch.Tensor,
    table: torch.Tensor | None = None,
    parts: int = 1,
) -> torch.Tensor:
    """(flat) uint8/uint16, (N,), (N,3), (N,P) on a card -> fills `out`, (N/parts,K,S,S).

    Values are not looked at: an image or window outside `pixels` becomes NaN. float64 holds
    float32 results. ImportError if there is nothing to compile with; RuntimeError from the driver.
    """
    if len(start) == 0:
        return out
    single = out if out.dtype in KINDS else torch.empty_like(out, dtype=torch.float32)
    scratch = make_scratch(len(start), size, channels, out.device)
    job, blocks = make_job(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        out=single, table=table, parts=parts, scratch=scratch,
    )  # fmt: skip
    device = pixels.device.index or 0
    module, stream = _module(device), torch.cuda.current_stream(device).cuda_stream
    for name in kernels(pixels.dtype):
        module.launch(name, job, blocks, THREADS, stream)
    return out if single is out else out.copy_(single)


def kernels(dtype: torch.dtype) -> tuple[str, str, str]:
    """The kernels of one call on pixels of this dtype, in order."""
    return ("resize8" if dtype == torch.uint8 else "resize16"), "sums", "finish"


def make_scratch(
    rows: int, size: int, channels: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Room for float tiles, (N * K * S * S,), and for sums, (N * blocks,)."""
    tile = torch.empty(rows * channels * size * size, dtype=torch.float32, device=device)
    return tile, torch.empty(rows * _blocks(size), dtype=torch.float32, device=device)


def make_job(
    pixels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    out: torch.Tensor,
    table: torch.Tensor | None,
    parts: int,
    scratch: tuple[torch.Tensor, torch.Tensor],
) -> tuple[Job, int]:
    """The argument of the kernels, and how many blocks there are. The tensors must outlive it."""
    rows, tile_and_sums = len(start), [part.data_ptr() for part in scratch]
    blocks = rows * _blocks(size)
    if blocks >= 1 << 31:
        raise ValueError(f"size and the number of images must make under 2^31 blocks, got {blocks}")
    job = Job(
        *(tensor.data_ptr() for tensor in (pixels, start, shape, params)),
        table.data_ptr() if table is not None else None,
        *tile_and_sums, out.data_ptr(), pixels.numel(),
        rows, size, channels, parts, KINDS[out.dtype], int(pixels.dtype == torch.uint16),
    )  # fmt: skip
    job.mean[:channels] = mean
    job.gain[:channels] = [1 / spread for spread in std]
    return job, blocks


def _blocks(size: int) -> int:
    return -(-size // ACROSS) * -(-size // DOWN)


def on_cuda(
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
    """`sample` on an NVIDIA card: checks the call, then `fused`. No `steps` or `threads` here."""
    if pixels.device.type != "cuda":
        raise ValueError(f"pixels must be on a CUDA device, they are on {pixels.device}")
    out = check_call(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std,
        dtype=dtype, table=table, parts=parts, out=out,
    )  # fmt: skip
    return fused(
        pixels, start, shape, params, size=size, channels=channels, mean=mean, std=std, out=out,
        table=table, parts=parts,
    )  # fmt: skip


def _module(device: int) -> Module:
    with _LOCK:
        return _loaded(device)


@functools.cache
def _loaded(device: int) -> Module:
    return load_module(source(), device)
