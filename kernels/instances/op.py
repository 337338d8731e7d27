"""`draw_runs` and `draw_polygons`: masks of thousands of objects, each in its own small frame.

Legend: M objects, T side of a mask (`side`), N rows of parameters, S side of the output (`size`).

A mask costs T * T bytes whatever the image: 3,000 cells at T = 28 are 2.4 MB, where full masks of a
704 x 520 image would be 1.1 GB. Whole masks of the output: the region (0, 0, S, S) and T = S.
"""

from __future__ import annotations

import torch

from ..library import register
from ..masks.op import check_sources
from ..op import Op
from ..points import check_rows
from ..sample.checks import check_size
from ..sample.columns import LONGEST, ONE
from .examples import polygon_examples, run_examples
from .reference import reference_polygons, reference_runs


def end_runs(counts: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """COCO run lengths (E,) of any integers, (M+1,) -> where each run ends, (E,) int32.

    Plain torch with shapes known beforehand: torch.compile reads it, and no device is waited for.
    """
    total = torch.cat([counts.new_zeros(1, dtype=torch.int64), counts.long().cumsum(0)])
    run = torch.arange(len(counts), device=counts.device)
    own = torch.searchsorted(start, run, right=True) - 1
    return (total[1:] - total[start[own]]).int()


def _empty(regions: torch.Tensor, side: int, **_: object) -> torch.Tensor:
    return regions.new_empty((regions.shape[0], side, side), dtype=torch.uint8)


@register(_empty)
def draw_runs(
    ends: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    threads: int | None = None,
) -> torch.Tensor:
    """(E,) int32, (M+1,) int64, (M,) int64, (N,2 or 3) int32, (N,P), (M,4) -> (M,T,T) uint8.

    Object m has the runs that end at `ends[start[m]:start[m+1]]` (`end_runs`), down the columns of
    source image `image[m]`, background first. Its mask covers `regions[m]`, x0 y0 x1 y1 in output
    pixels: each of T x T cells takes the source pixel at its centre, by the rule of `sample_masks`,
    the same on every device. 0 beyond the picture, beyond a KEEP row's box, and in regions without
    area. ValueError for wrong shapes or dtypes, offsets or images that do not exist, or regions
    beyond 16,383 pixels (values are checked on the CPU only).
    """
    return RUNS.run(
        ends, start, image, shape, params, regions, size=size, side=side, threads=threads
    )


@register(_empty)
def draw_polygons(
    vertices: torch.Tensor,
    rings: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    moved: bool = False,
    threads: int | None = None,
) -> torch.Tensor:
    """(V,2), (R+1,) int64, (M+1,) int64, (M,), (N,2 or 3), (N,P), (M,4) -> (M,T,T) uint8.

    Ring r has the vertices `rings[r]` to `rings[r+1]` - 1, object m the rings `start[m]` to
    `start[m+1]` - 1: even-odd within a ring, joined over rings, a pixel belongs where its centre is
    inside. Vertices are source pixels, drawn there and read as in `draw_runs`, or with `moved`
    output pixels (`move_polygons`), drawn in the output. They are rounded to 2^-16 pixels and must
    lie from -1 to 32,768.
    """
    return POLYGONS.run(
        vertices, rings, start, image, shape, params, regions,
        size=size, side=side, moved=moved, threads=threads,
    )  # fmt: skip


def runs_on_cpu(
    ends: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    threads: int | None = None,
) -> torch.Tensor:
    """Check the arguments, then call the numba back end."""
    from . import cpu

    check_sources(shape, params)
    _check_values(start, len(ends), image, params, regions)
    out, whole = _prepare(ends, start, image, params, regions, size, side)
    threads = torch.get_num_threads() if threads is None else threads
    return cpu.runs(ends, start, image, shape, params, whole, size=size, out=out, threads=threads)


def runs_on_card(
    ends: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    threads: int | None = None,
) -> torch.Tensor:
    """Call the Triton back end. Checks no values: that would wait for the device."""
    from . import triton

    out, whole = _prepare(ends, start, image, params, regions, size, side)
    return triton.runs(ends, start, image, shape, params, whole, size=size, out=out)


def polygons_on_cpu(
    vertices: torch.Tensor,
    rings: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    moved: bool = False,
    threads: int | None = None,
) -> torch.Tensor:
    """Check the arguments, then call the numba back end."""
    from . import cpu

    check_sources(shape, params)
    _check_values(start, len(rings) - 1, image, params, regions)
    _check_offsets("rings", rings, len(vertices))
    if len(vertices) and not (vertices.min() >= -1 and vertices.max() <= LONGEST + 1):
        raise ValueError(f"vertices must lie from -1 to {LONGEST + 1} pixels: clip them first")
    out, whole = _prepare(rings.int(), start, image, params, regions, size, side)
    threads = torch.get_num_threads() if threads is None else threads
    return cpu.polygons(
        to_q16(vertices), rings, start, image, shape, params, whole,
        size=size, moved=moved, out=out, threads=threads,
    )  # fmt: skip


def polygons_on_card(
    vertices: torch.Tensor,
    rings: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    shape: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    *,
    size: int,
    side: int,
    moved: bool = False,
    threads: int | None = None,
) -> torch.Tensor:
    """Call the Triton back end. Checks no values: that would wait for the device."""
    from . import triton

    out, whole = _prepare(rings.int(), start, image, params, regions, size, side)
    return triton.polygons(
        to_q16(vertices), rings, start, image, shape, params, whole,
        size=size, moved=moved, out=out,
    )  # fmt: skip


def to_q16(lengths: torch.Tensor) -> torch.Tensor:
    """Pixels (V,n) -> contiguous int64 Q16, to the nearest, as the reference's `rint`."""
    if lengths.ndim != 2 or not lengths.is_floating_point():
        got = f"{tuple(lengths.shape)} of {lengths.dtype}"
        raise ValueError(f"vertices must be (V, 2) and regions (M, 4), both floats, got {got}")
    return (lengths.double() * ONE).round().long().contiguous()


def _prepare(
    data: torch.Tensor,
    start: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
    size: int,
    side: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The result to fill (M,T,T), and the regions (M,4) in Q16."""
    check_rows(params)
    check_size("size", size)
    check_size("side", side)
    if data.ndim != 1 or data.dtype != torch.int32:
        raise ValueError(f"ends must be flat int32, got {tuple(data.shape)} of {data.dtype}")
    count = len(image)
    for name, each, length in (("image", image, count), ("start", start, count + 1)):
        if tuple(each.shape) != (length,) or each.dtype != torch.int64:
            got = f"{tuple(each.shape)} of {each.dtype}"
            raise ValueError(f"{name} must be ({length},) of int64, got {got}")
    if tuple(regions.shape) != (count, 4):
        raise ValueError(f"regions must be ({count}, 4), got {tuple(regions.shape)}")
    out = torch.empty(count, side, side, dtype=torch.uint8, device=params.device)
    return out, to_q16(regions)


def _check_values(
    start: torch.Tensor,
    entries: int,
    image: torch.Tensor,
    params: torch.Tensor,
    regions: torch.Tensor,
) -> None:
    _check_offsets("start", start, entries)
    if len(image) and not 0 <= int(image.min()) <= int(image.max()) < len(params):
        raise ValueError(f"image must name rows 0 to {len(params) - 1} of params")
    if not bool((regions.abs() <= LONGEST // 2).all()):  # also NaN
        raise ValueError(f"regions must lie within {LONGEST // 2} pixels of the corner")


def _check_offsets(name: str, offsets: torch.Tensor, entries: int) -> None:
    ends = (int(offsets[0]), int(offsets[-1])) if offsets.numel() else (0, -1)
    if ends != (0, entries) or bool((offsets.diff() < 0).any()):
        raise ValueError(f"{name} must climb from 0 to {entries}")


def run_traffic(*args: torch.Tensor, side: int, **_: object) -> int:
    """Bytes of the arguments and of the result, each counted once."""
    read = sum(each.numel() * each.element_size() for each in args)
    return read + len(args[-1]) * side * side


RUNS = Op(
    "draw_runs",
    reference_runs,
    {"cpu": runs_on_cpu, "triton": runs_on_card},
    run_examples,
    run_traffic,
    exact=True,
)
POLYGONS = Op(
    "draw_polygons",
    reference_polygons,
    {"cpu": polygons_on_cpu, "triton": polygons_on_card},
    polygon_examples,
    run_traffic,
    exact=True,
)
