"""`mix` on a card: one launch; a value is read once, or twice where two images meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..sample.columns import COLUMNS, MIX_WIDTH, ONE, PARTNER

try:
    import triton
    import triton.language as tl
except ImportError:  # `Op.choose` passes over this back end; the module can still be read
    triton = tl = None

BLOCK = 2048  # values of one program: 16 of a thread at 4 warps
assert MIX_WIDTH == PARTNER + 5, "the kernel reads six columns in a row"


def launch(images: torch.Tensor, rows: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """(N,K,S,S) channels-last, (N,P) -> fills `out`, of the same kind.

    Checks nothing and never waits for the device. ImportError where Triton is missing.
    """
    if triton is None:
        raise ImportError("mix on a card needs Triton: pip install triton")
    count, channels, size, _ = images.shape
    values = channels * size * size
    if count * values == 0:
        return out
    _kernel[(-(-values // BLOCK), count)](
        images, rows, out, count, values, size, channels,
        WIDE=torch.float64 in (images.dtype, out.dtype),
        COLUMNS=COLUMNS, FIRST=PARTNER, ONE=ONE, BLOCK=BLOCK,
    )  # fmt: skip
    return out


def _jit(kernel: Callable[..., Any]) -> Any:
    return triton.jit(kernel) if triton else kernel


@_jit
def _kernel(
    images, rows, out, count, values, size, channels,
    WIDE: tl.constexpr, COLUMNS: tl.constexpr, FIRST: tl.constexpr, ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """BLOCK values of image `program_id(1)`, as they lie in memory: (y, x, channel)."""
    real = tl.float64 if WIDE else tl.float32
    n = tl.program_id(1)
    row = rows + n * COLUMNS + FIRST
    step, share = tl.load(row), tl.load(row + 1).to(real) / ONE
    top, left, height, width = (
        tl.load(row + 2),
        tl.load(row + 3),
        tl.load(row + 4),
        tl.load(row + 5),
    )
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y, x = i // (size * channels), i // channels % size
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    # `!= 0`: Triton 3.9 interprets a scalar's comparison as an int32, and refuses it as a mask.
    taken = ((i < values) & (step > 0) & ((height == 0) | inside)) != 0
    kept = ((i < values) & ~((height > 0) & taken)) != 0
    own = images + n.to(tl.int64) * values + i
    other = images + ((n + step) % count).to(tl.int64) * values + i
    near = tl.load(own, mask=kept, other=0).to(real)
    far = tl.load(other, mask=taken, other=0).to(real)
    blended = tl.where(step > 0, near * share + far * (1 - share), near)
    found = tl.where(height > 0, tl.where(taken, far, near), blended)
    tl.store(out + n.to(tl.int64) * values + i, found.to(out.dtype.element_ty), mask=i < values)
