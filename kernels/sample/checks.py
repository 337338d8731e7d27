"""What `sample` refuses, before any back end runs: one ValueError that names the argument."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from .columns import (
    BLUR,
    BOX_TOP,
    COLUMNS,
    ERASE_TOP,
    GAMMA,
    HEIGHT,
    LEFT,
    LONGEST,
    NOISE,
    ONE,
    TOP,
    WIDTH,
    Q,
)

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_call(
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
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Arguments as `op.sample` has them -> `out`, (N/parts,K,S,S) channels-last; new if None.

    The ValueErrors of every back end. On a card no value is looked at: that would wait for it.
    """
    on_host = pixels.device.type == "cpu"
    (check_images if on_host else check_layout)(pixels, start, shape, params)
    check_levels(channels, mean, std)
    check_table(table, pixels)
    outputs = check_parts(parts, len(start))
    check_size("size", size)
    if out is None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {names(DTYPES)}, got {dtype}")
        room = (outputs, size, size, channels)
        out = torch.empty(room, dtype=dtype, device=pixels.device).permute(0, 3, 1, 2)
    check_out(out, (outputs, channels, size, size), pixels.device)
    if on_host:
        check_places(params, size)
    return out


def check_images(
    pixels: torch.Tensor, start: torch.Tensor, shape: torch.Tensor, params: torch.Tensor
) -> None:
    """ValueError unless every image lies inside `pixels` and every window inside its image."""
    check_layout(pixels, start, shape, params)
    if len(start) == 0:
        return
    depth = _values(shape)[:, 2]
    if not ((depth == 1) | (depth == 3)).all():
        raise ValueError("shape[:, 2] must be 1 or 3 channels")
    check_windows(shape, params)
    check_extent("pixels", pixels, start, shape)


def check_size(name: str, size: int) -> None:
    """ValueError unless a side is 1 to 16,383 pixels."""
    if not 1 <= size <= LONGEST // 2:
        raise ValueError(f"{name} must be 1 to {LONGEST // 2} pixels, got {size}")


def check_extent(name: str, flat: torch.Tensor, start: torch.Tensor, shape: torch.Tensor) -> None:
    """ValueError unless the `shape[n]` values from `start[n]` on lie in `flat`, for every n."""
    first, size = _values(start), np.prod(_values(shape), axis=1, dtype=np.int64)
    if len(start) and (first.min() < 0 or (first + size).max() > flat.numel()):
        raise ValueError(f"start and shape reach outside the {flat.numel()} {name} there are")


def check_windows(shape: torch.Tensor, params: torch.Tensor) -> None:
    """ValueError unless images, (N,2 or 3), have sides of 1 to 32,767 pixels, windows inside."""
    if not len(shape):
        return
    sides, rows = _values(shape)[:, :2].astype(np.int64), _values(params)
    if sides.min() < 1 or sides.max() > LONGEST:
        raise ValueError(f"shape[:, :2] must be 1 to {LONGEST} pixels")
    corner, window = rows[:, TOP : LEFT + 1], rows[:, HEIGHT : WIDTH + 1]
    # Mip levels have floor(side / 2) pixels: a window may end less than a pixel beyond them.
    excess = np.add(corner, window, dtype=np.int64) - (sides << Q)
    if corner.min() < 0 or window.min() < 1 or excess.max() >= ONE:
        raise ValueError("a window in params reaches outside its image")


def check_layout(
    pixels: torch.Tensor, start: torch.Tensor, shape: torch.Tensor, params: torch.Tensor
) -> None:
    """ValueError unless shapes, dtypes, strides and devices fit together; looks at no value."""
    count, device = len(start), pixels.device
    _check("pixels", pixels, (pixels.numel(),), (torch.uint8, torch.uint16), device)
    _check("start", start, (count,), (torch.int64,), device)
    _check("shape", shape, (count, 3), (torch.int32,), device)
    _check("params", params, (count, COLUMNS), (torch.int32,), device)


def check_places(params: torch.Tensor, size: int) -> None:
    """ValueError unless every box and erased rectangle lies inside the output, S = `size`."""
    rows = _values(params)
    for name, at, least in (("a box", BOX_TOP, 1), ("an erased rectangle", ERASE_TOP, 0)):
        first, length = rows[:, at : at + 2], rows[:, at + 2 : at + 4]
        over = np.add(first, length, dtype=np.int64) > size
        if ((first < 0) | (length < least) | over).any():
            raise ValueError(f"{name} in params reaches outside the {size} x {size} output")
    if (rows[:, BLUR] < 0).any() or (rows[:, NOISE] < 0).any() or (rows[:, GAMMA] < 1).any():
        raise ValueError("blur and noise in params must not be negative, gamma must be positive")


def _values(tensor: torch.Tensor) -> np.ndarray:
    """For looking at numbers: a call of numpy takes 1 us, one of torch 4."""
    return tensor.cpu().numpy()


def check_table(table: torch.Tensor | None, pixels: torch.Tensor) -> None:
    """ValueError unless there is no table, or one light from 0 to 1 for each raw level.

    On a card the lights are not looked at: that would wait for it.
    """
    if table is None:
        return
    levels = torch.iinfo(pixels.dtype).max + 1
    _check("table", table, (levels,), (torch.float32,), pixels.device)
    if pixels.device.type == "cpu" and not bool(((table >= 0) & (table <= 1)).all()):
        raise ValueError("table must hold light from 0 (black) to 1 (white)")


def check_parts(parts: int, count: int) -> int:
    """How many outputs `count` rows write. ValueError unless `parts` divides them."""
    if parts < 1 or count % parts:
        raise ValueError(f"parts must be at least 1 and divide the {count} rows, got {parts}")
    return count // parts


def check_levels(channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """ValueError unless there is one finite mean and one positive std per channel."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels or not all(math.isfinite(value) for value in values):
            raise ValueError(f"{name} must be {channels} finite numbers, got {values}")
    if min(std) <= 0:
        raise ValueError(f"std must be positive, got {std}")


def check_out(out: torch.Tensor, shape: tuple[int, ...], device: torch.device) -> None:
    """ValueError unless `out` has this shape (N,K,S,S), a known dtype and channels-last strides."""
    if not out.permute(0, 2, 3, 1).is_contiguous():
        raise ValueError(f"out must be stored channels-last, its strides are {out.stride()}")
    stored = out.permute(0, 2, 3, 1)
    _check("out", stored, (shape[0], shape[2], shape[3], shape[1]), DTYPES, device)


def _check(
    name: str,
    tensor: torch.Tensor,
    shape: tuple[int, ...],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype not in dtypes:
        raise ValueError(
            f"{name} must be {shape} of {names(dtypes)},"
            f" got {tuple(tensor.shape)} of {names((tensor.dtype,))}"
        )
    if not tensor.is_contiguous() or tensor.device != device:
        where = "the CPU" if device.type == "cpu" else str(device)
        raise ValueError(f"{name} must be contiguous, on {where} like the pixels")


def names(dtypes: tuple[torch.dtype, ...]) -> str:
    """`float32 or bfloat16`, for a message."""
    return " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
