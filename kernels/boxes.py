"""Boxes and keypoints of the source, moved with the picture and cut to what of it is left.

Legend: M boxes or points, N rows of parameters, S side of the output in pixels.

Only the object itself moves: what an EDGE or REFLECT border repeats of it is not another object.
"""

from __future__ import annotations

import torch

from .points import check_points, frame_output, frame_source, move_points
from .sample.columns import BENT, FLAGS

STEPS = 8  # pieces of a bent edge: the bow of one is about 1 / 64 of the whole edge's


def move_boxes(
    boxes: torch.Tensor,
    image: torch.Tensor,
    params: torch.Tensor,
    *,
    size: int,
    min_visible: float = 0.25,
    min_side: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M,4) x0 y0 x1 y1 source pixels, (M,) rows, (N,P) -> (M,4) float64 output pixels, (M,) bool.

    A box is cut to its window, its edges are moved, and what they span is cut to the output (to
    the part's own box in a KEEP row): of a turned box that is more than the object, so move the
    polygon or the mask where there is one. `keep` is False where less than `min_visible` of the
    area is left, or a side is below `min_side` pixels; such boxes may have no area. Boxes without
    area are never kept. ValueError for wrong shapes, dtypes or limits.
    """
    check_points("boxes", boxes, 4, image, params)
    if not (0 <= min_visible <= 1 and min_side >= 0):
        got = f"{min_visible} and {min_side}"
        raise ValueError(f"min_visible must be 0 to 1 and min_side not negative, got {got}")
    whole = boxes.double()
    shown = intersect(whole, frame_source(params)[image])
    steps = STEPS if bool((params[:, FLAGS] & BENT).any()) else 1
    edges = _walk(shown, steps)
    many = edges.shape[1]
    moved = move_points(
        edges.reshape(-1, 2), image.repeat_interleave(many), params, size=size
    ).view(-1, many, 2)
    hull = torch.cat([moved.amin(dim=1), moved.amax(dim=1)], dim=1)
    found = intersect(hull, frame_output(params, size)[image])
    share = _share(shown, whole) * _share(found, hull)
    sides = (found[:, 2:] - found[:, :2]).amin(dim=1)
    return found, (share >= min_visible) & (share > 0) & (sides >= min_side)


def move_keypoints(
    points: torch.Tensor, image: torch.Tensor, params: torch.Tensor, *, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M,2) x y source pixels, (M,) rows, (N,P) -> (M,2) float64 output pixels, (M,) bool.

    The second says whether the point is inside both its window and what its row writes.
    """
    moved = move_points(points, image, params, size=size)
    inside = [
        ((each >= frame[image, :2]) & (each < frame[image, 2:])).all(dim=1)
        for each, frame in ((points, frame_source(params)), (moved, frame_output(params, size)))
    ]
    return moved, inside[0] & inside[1]


def intersect(boxes: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """(M,4), (M,4) -> (M,4) what they share; without area, on the frame's rim, where nothing."""
    low = torch.minimum(torch.maximum(boxes[:, :2], frame[:, :2]), frame[:, 2:])
    high = torch.maximum(torch.minimum(boxes[:, 2:], frame[:, 2:]), frame[:, :2])
    return torch.cat([low, torch.maximum(low, high)], dim=1)


def _share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """(M,4), (M,4) -> (M,) area of the first over area of the second, 0 where that has none."""
    one, other = ((each[:, 2:] - each[:, :2]).clamp(min=0).prod(dim=1) for each in (part, whole))
    return torch.where(other > 0, one / other.clamp(min=1e-300), 0.0)


def _walk(boxes: torch.Tensor, steps: int) -> torch.Tensor:
    """Points along the edges, corners first in each: (M,4) -> (M, 4 * steps, 2)."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 4, 1, 2)
    share = torch.arange(steps, device=boxes.device)[:, None] / steps
    return (corners + share * (corners.roll(-1, dims=1) - corners)).flatten(1, 2)
