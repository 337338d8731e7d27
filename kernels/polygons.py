"""Polygons of the source, moved with the picture and cut to what of it is left.

Legend: R rings, V vertices of all of them, one ring after another, N rows of parameters, S side of
the output in pixels. `offsets` (R+1,) int64 says where each ring's vertices begin.
"""

from __future__ import annotations

import torch

from .points import check_points, frame_output, frame_source, magnify, move_points
from .sample.columns import BENT, BOX_HEIGHT, BOX_WIDTH, FLAGS, HEIGHT, ONE, WIDTH

PIECE = 4.0  # output pixels of a bent edge that stay straight


def move_polygons(
    vertices: torch.Tensor,
    offsets: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(V,2) x y source pixels, (R+1,), (R,) rows, (N,P) -> (V',2) float64, (R+1,), (R,2) areas.

    Each ring is cut to its window, moved, and cut to the output (to the part's own box in a KEEP
    row), by Sutherland and Hodgman: a ring that falls apart stays one, its pieces joined along the
    rim, with the same pixels inside. A ring of which nothing is left has no vertices. Where the
    picture is bent, edges are first split into pieces of at most 4 output pixels.

    Areas are in output pixels: of the ring if nothing were cut (without the bend), and of what is
    left. An object's visible share is the second over the first, each summed over its rings.
    ValueError for wrong shapes or dtypes.
    """
    check_rings(vertices, offsets)
    check_points("vertices", vertices, 2, name_rings(offsets) * 0, params[:1])
    check_points("offsets", torch.empty(len(offsets) - 1, 2), 2, image, params)
    full = measure_rings(vertices, offsets) * magnify(params)[image]
    shown, ends = clip_rings(vertices.double(), offsets, frame_source(params)[image])
    if bool((params[:, FLAGS] & BENT).any()):
        shown, ends = _split(shown, ends, image, params)
    moved = move_points(shown, image[name_rings(ends)], params, size=size)
    found, ends = clip_rings(moved, ends, frame_output(params, size)[image])
    return found, ends, torch.stack([full, measure_rings(found, ends)], dim=1)


def check_rings(vertices: torch.Tensor, offsets: torch.Tensor) -> None:
    """ValueError unless `offsets` (R+1,) int64 climb from 0 to the number of vertices (V,2)."""
    if offsets.ndim != 1 or not len(offsets) or offsets.dtype != torch.int64:
        got = f"{tuple(offsets.shape)} of {offsets.dtype}"
        raise ValueError(f"offsets must be (R + 1,) of int64, got {got}")
    ends = int(offsets[0]), int(offsets[-1])
    if ends != (0, len(vertices)) or bool((offsets.diff() < 0).any()):
        raise ValueError(f"offsets must climb from 0 to the {len(vertices)} vertices there are")


def name_rings(offsets: torch.Tensor) -> torch.Tensor:
    """The ring of each vertex: (R+1,) -> (V,) int64."""
    ring = torch.arange(len(offsets) - 1, device=offsets.device)
    return ring.repeat_interleave(offsets.diff())


def measure_rings(vertices: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Areas by the shoelace formula, without sign: (V,2), (R+1,) -> (R,) float64."""
    ring = name_rings(offsets)
    # Counted from the ring's first vertex: products near 0 lose fewer bits.
    here = vertices.double() - vertices.double()[offsets[:-1][ring]]
    there = here[_follow(offsets, ring)]
    twice = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    total = torch.zeros(len(offsets) - 1, dtype=torch.float64, device=vertices.device)
    return total.index_add_(0, ring, twice).abs() / 2


def clip_rings(
    vertices: torch.Tensor, offsets: torch.Tensor, frame: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(V,2), (R+1,), (R,4) x0 y0 x1 y1 -> (V',2), (R+1,): the rings inside their frames."""
    for side in range(4):
        vertices, offsets = _cut(vertices, offsets, frame[:, side], side % 2, side < 2)
    return vertices, offsets


def _follow(offsets: torch.Tensor, ring: torch.Tensor) -> torch.Tensor:
    """The vertex after each, the first after the last: (R+1,), (V,) -> (V,)."""
    place = torch.arange(1, len(ring) + 1, device=ring.device)
    return torch.where(place == offsets[1:][ring], offsets[:-1][ring], place)


def _cut(
    vertices: torch.Tensor, offsets: torch.Tensor, line: torch.Tensor, axis: int, above: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep what lies on one side of each ring's line (R,): every edge leaves 0, 1 or 2 vertices."""
    ring = name_rings(offsets)
    after = _follow(offsets, ring)
    far = vertices[:, axis] - line[ring]
    inside = far >= 0 if above else far <= 0
    crosses = inside != inside[after]
    room = inside.long() + crosses
    ends = torch.cat([room.new_zeros(1), room.cumsum(0)])
    found = vertices.new_empty(int(ends[-1]), 2)
    found[ends[:-1][inside]] = vertices[inside]
    here, there = vertices[crosses], vertices[after[crosses]]
    share = far[crosses] / (far[crosses] - far[after[crosses]])
    meet = here + share[:, None] * (there - here)
    meet[:, axis] = line[ring[crosses]]  # on the line to the last bit
    found[ends[:-1][crosses] + inside[crosses]] = meet
    return found, ends[offsets]


def _split(
    vertices: torch.Tensor, offsets: torch.Tensor, image: torch.Tensor, params: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges of bent rows in pieces of PIECE output pixels (before affine and bend)."""
    ring = name_rings(offsets)
    edge = vertices[_follow(offsets, ring)] - vertices
    windows = params[:, [WIDTH, HEIGHT]].double() / ONE
    gain = params[:, [BOX_WIDTH, BOX_HEIGHT]].double() / windows
    bent = (params[:, FLAGS] & BENT) != 0
    long = (edge * gain[image[ring]]).norm(dim=1) * bent[image[ring]]
    pieces = (long / PIECE).ceil().clamp(min=1).long()
    ends = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
    source = torch.arange(len(vertices), device=ring.device).repeat_interleave(pieces)
    step = torch.arange(len(source), device=ring.device) - ends[source]
    share = step / pieces[source]
    return vertices[source] + share[:, None] * edge[source], ends[offsets]
