"""`sample_masks`: label maps, moved by the same rows as their images, by the nearest pixel.

Legend: N rows of parameters, S side of the output in pixels.
"""

from __future__ import annotations

import torch

from ..library import register
from ..op import Op
from ..points import check_rows
from ..sample.checks import check_extent, check_parts, check_size, check_windows
from .examples import examples
from .reference import reference

DTYPES = (torch.uint8, torch.uint16, torch.int32)


def _empty(
    labels: torch.Tensor, start: torch.Tensor, size: int, parts: int = 1, **_: object
) -> torch.Tensor:
    return labels.new_empty(start.shape[0] // parts, size, size)


@register(_empty)
def sample_masks(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    outside: int = 0,
    parts: int = 1,
    threads: int | None = None,
) -> torch.Tensor:
    """(flat) uint8/uint16/int32, (N,) int64, (N,2 or 3), (N,P) int32 -> (N/parts,S,S) labels.

    Map n is the `shape[n]` = (H,W,...) labels from `start[n]` on; `params` are the rows its image
    is sampled with. Every output pixel takes one label, chosen in integers (`sample/columns.py`,
    under Masks), the same on every device; `outside` where there is no picture. `parts` rows in
    turn write one output: with KEEP, and boxes that do not overlap. `threads`, on a CPU, defaults
    to torch's own number. ValueError for wrong shapes or dtypes, or maps outside `labels`.
    """
    return MASKS.run(
        labels, start, shape, params, size=size, outside=outside, parts=parts, threads=threads
    )


def traffic(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    parts: int = 1,
    **_: object,
) -> int:
    """Bytes of the result, as many of labels, and the rows."""
    moved = len(start) // parts * size * size * labels.element_size()
    return 2 * moved + params.numel() * params.element_size()


def on_cpu(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    outside: int = 0,
    parts: int = 1,
    threads: int | None = None,
) -> torch.Tensor:
    """Check the arguments, then call the numba back end."""
    from . import cpu

    check_maps(labels, start, shape, params)
    out = make_out(labels, params, size, outside, parts)
    threads = torch.get_num_threads() if threads is None else threads
    return cpu.nearest(
        labels, start, shape, params, out=out, outside=outside, parts=parts, threads=threads
    )


def on_card(
    labels: torch.Tensor,
    start: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    outside: int = 0,
    parts: int = 1,
    threads: int | None = None,
) -> torch.Tensor:
    """Call the Triton back end. Checks no values: that would wait for the device."""
    from . import triton

    out = make_out(labels, params, size, outside, parts)
    return triton.nearest(labels, start, shape, params, out=out, outside=outside, parts=parts)


def make_out(
    labels: torch.Tensor, params: torch.Tensor, size: int, outside: int, parts: int
) -> torch.Tensor:
    """(N/parts,S,S) of `outside`. ValueError for what cannot be."""
    check_rows(params)
    check_size("size", size)
    if labels.dtype not in DTYPES or labels.ndim != 1:
        got = f"{tuple(labels.shape)} of {labels.dtype}"
        raise ValueError(f"labels must be flat, of uint8, uint16 or int32, got {got}")
    info = torch.iinfo(labels.dtype)
    if not info.min <= outside <= info.max:
        raise ValueError(f"outside must be {info.min} to {info.max}, got {outside}")
    place = (check_parts(parts, len(params)), size, size)
    return torch.full(place, outside, dtype=labels.dtype, device=labels.device)


def check_maps(
    labels: torch.Tensor, start: torch.Tensor, shape: torch.Tensor, params: torch.Tensor
) -> None:
    """ValueError unless every map lies inside `labels` and every window inside its map."""
    check_sources(shape, params)
    if tuple(start.shape) != (len(params),) or start.dtype != torch.int64:
        got = f"{tuple(start.shape)} of {start.dtype}"
        raise ValueError(f"start must be ({len(params)},) of int64, got {got}")
    check_extent("labels", labels, start, shape[:, :2])


def check_sources(shape: torch.Tensor, params: torch.Tensor) -> None:
    """ValueError unless `shape` (N,2 or 3) int32 fits `params` (N,P) and holds their windows."""
    check_rows(params)
    fits = shape.ndim == 2 and shape.shape[1] in (2, 3) and len(shape) == len(params)
    if not fits or shape.dtype != torch.int32:
        got = f"{tuple(shape.shape)} of {shape.dtype}"
        raise ValueError(f"shape must be ({len(params)}, 2 or 3) of int32, got {got}")
    check_windows(shape, params)


MASKS = Op(
    "sample_masks",
    reference,
    {"cpu": on_cpu, "triton": on_card},
    examples,
    traffic,
    exact=True,
)
