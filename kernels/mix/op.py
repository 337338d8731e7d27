"""`mix`: a finished batch, each image blended with or pasted over by a partner of the batch.

Legend: N images, K channels, S side in pixels, P columns (`sample/columns.py`).

    batch = mix(sample(...), rows)

Image n keeps its share and gets the rest of image (n + PARTNER) % N, or that one's rectangle
where MIX_HEIGHT is above 0; PARTNER 0 is nobody. SHARE says how much of the label stays, too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..library import register
from ..op import Example, Op
from ..sample.checks import DTYPES, names
from ..sample.columns import COLUMNS, MIX_HEIGHT, MIX_LEFT, MIX_TOP, MIX_WIDTH, ONE, PARTNER, SHARE
from .pair import partners


def _empty(images: torch.Tensor, dtype: torch.dtype | None = None, **_: object) -> torch.Tensor:
    return torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)


@register(_empty)
def mix(
    images: torch.Tensor,
    rows: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """(N,K,S,S) stored channels-last, (N,P) int32 on its device -> (N,K,S,S) like it, or `dtype`.

    Computes in float32 (float64 from float64) and rounds once. `out`, channels-last and not the
    images themselves, is filled if given, and sets the dtype.

    ValueError for wrong shapes, dtypes or strides, and on the CPU for rows that make no sense;
    NotImplementedError for a device that has no back end.
    """
    return MIX.run(images, rows, dtype=dtype, out=out)


def reference(
    images: torch.Tensor, rows: torch.Tensor, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """What `mix` means: (N,K,S,S), (N,P) -> (N,K,S,S) `dtype`, in float64 if that is float64."""
    dtype = dtype or images.dtype
    own = images.to(torch.float64 if dtype == torch.float64 else torch.float32)
    other, column = own[partners(rows)], rows[:, :, None, None, None]
    share = column[:, SHARE] / torch.tensor(ONE, dtype=own.dtype)
    y, x = torch.arange(images.shape[2])[:, None], torch.arange(images.shape[3])
    top, left, height, width = (column[:, c] for c in range(MIX_TOP, MIX_WIDTH + 1))
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    pasted, blended = torch.where(inside, other, own), share * own + (1 - share) * other
    found = torch.where(height > 0, pasted, blended).to(dtype)
    return found.contiguous(memory_format=torch.channels_last)


def on_cpu(
    images: torch.Tensor,
    rows: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Check the rows too, then one pass of torch over each image: memory sets the pace."""
    out = room(images, rows, dtype, out)
    _check_rows(rows, images.shape[-1])
    pixels, stored = images.permute(0, 2, 3, 1), out.permute(0, 2, 3, 1)
    for n, row in enumerate(rows[:, PARTNER : MIX_WIDTH + 1].tolist()):
        step, share, top, left, height, width = row
        own, other = pixels[n], pixels[(n + step) % len(rows)]
        if height:
            box = slice(top, top + height), slice(left, left + width)
            stored[n] = own
            stored[n][box] = other[box]
        elif not step:
            stored[n] = own
        elif out.dtype == images.dtype:
            torch.lerp(other, own, share / ONE, out=stored[n])
        else:
            stored[n] = torch.lerp(_wide(other), _wide(own), share / ONE)
    return out


def on_card(
    images: torch.Tensor,
    rows: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Check the arguments, not the rows (that would wait for the device), then one launch."""
    from . import triton

    return triton.launch(images, rows, room(images, rows, dtype, out))


def _wide(image: torch.Tensor) -> torch.Tensor:
    return image.to(torch.promote_types(image.dtype, torch.float32))


def room(
    images: torch.Tensor,
    rows: torch.Tensor,
    dtype: torch.dtype | None,
    out: torch.Tensor | None,
) -> torch.Tensor:
    """`out`, or a new tensor for the result. ValueError that names the argument that is wrong."""
    _check_images("images", images)
    if tuple(rows.shape) != (len(images), COLUMNS) or rows.dtype != torch.int32:
        raise ValueError(
            f"rows must be {(len(images), COLUMNS)} of int32,"
            f" got {tuple(rows.shape)} of {names((rows.dtype,))}"
        )
    if not rows.is_contiguous() or rows.device != images.device:
        raise ValueError(f"rows must be contiguous and on {images.device}, as the images are")
    if out is None:
        if (dtype or images.dtype) not in DTYPES:
            raise ValueError(f"dtype must be one of {names(DTYPES)}, got {dtype}")
        return torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
    _check_images("out", out)
    if out.shape != images.shape or out.device != images.device:
        raise ValueError(f"out must be {tuple(images.shape)} on {images.device}, as the images are")
    if out.data_ptr() == images.data_ptr() and len(out):
        raise ValueError("out must not be the images: partners are read as they were")
    return out


def _check_images(name: str, images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[2] != images.shape[3] or images.dtype not in DTYPES:
        found = f"{tuple(images.shape)} of {names((images.dtype,))}"
        raise ValueError(f"{name} must be (N,K,S,S) of {names(DTYPES)}, got {found}")
    if not images.permute(0, 2, 3, 1).is_contiguous():
        raise ValueError(f"{name} must be stored channels-last, its strides are {images.stride()}")


def _check_rows(rows: torch.Tensor, size: int) -> None:
    step, share = rows[:, PARTNER], rows[:, SHARE]
    if not bool(((step >= 0) & (step < max(len(rows), 1))).all()):
        raise ValueError(f"PARTNER in rows must be 0 to {len(rows) - 1}")
    if not bool(((share >= 0) & (share <= ONE)).all()):
        raise ValueError(f"SHARE in rows must be 0 to {ONE}")
    corner, box = rows[:, [MIX_TOP, MIX_LEFT]].long(), rows[:, [MIX_HEIGHT, MIX_WIDTH]].long()
    if not bool(((corner >= 0) & (box >= 0) & (corner + box <= size)).all()):
        raise ValueError("a rectangle in rows reaches outside its image")


def traffic(
    images: torch.Tensor, rows: torch.Tensor, *, dtype: torch.dtype | None = None, **_: object
) -> int:
    """Bytes of the images and of the result, and of the six columns that are read."""
    written = images.numel() * (dtype or images.dtype).itemsize
    return images.numel() * images.element_size() + written + len(rows) * 6 * 4


def _example(
    name: str, count: int, channels: int, size: int, changes: Mapping[int, tuple[int, ...]]
) -> Example:
    draw = np.random.default_rng(count * size)
    images = torch.from_numpy(draw.normal(0, 2, (count, size, size, channels)).astype(np.float32))
    rows = torch.zeros(count, COLUMNS, dtype=torch.int32)
    rows[:, SHARE] = ONE
    for n, row in changes.items():
        rows[n, PARTNER : PARTNER + len(row)] = torch.tensor(row, dtype=torch.int32)
    return Example(name, (images.permute(0, 3, 1, 2), rows), {})


def examples() -> list[Example]:
    """Calls that between them reach every branch of a back end."""
    half, bit = ONE // 2, 1
    blends = {0: (1, half), 1: (4, bit), 2: (3, ONE - bit), 3: (2, 0), 4: (1, 45875)}
    pastes = {
        0: (1, 60000, 2, 3, 4, 5), 1: (2, 0, 0, 0, 17, 17), 2: (1, 65000, 16, 16, 1, 1),
        4: (4, 50000, 0, 9, 17, 8),
    }  # fmt: skip
    return [
        _example("nobody is mixed", 3, 3, 9, {}),
        _example("alone", 1, 1, 5, {}),
        _example("blended", 5, 1, 17, blends),
        _example("blended RGB", 5, 3, 33, blends),
        _example("pasted", 5, 1, 17, pastes),
        _example("pasted RGB", 5, 3, 17, pastes),
        _example("both", 6, 3, 40, {**blends, 1: pastes[0], 5: (5, 1000, 39, 0, 1, 40)}),
        _example("one pixel", 2, 3, 1, {0: (1, 0, 0, 0, 1, 1), 1: (1, half)}),
    ]


MIX = Op("mix", reference, {"cpu": on_cpu, "triton": on_card}, examples, traffic)
