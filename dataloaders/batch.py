"""What crosses from data to model: a view on raw pixels, never a copy of them.

Legend: N images of the micro-batch, P parameter columns, C channels, S side of the output.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch. `pixels` may be a ring slot or a whole memory-mapped or resident pack."""

    pixels: Tensor
    """(B,) uint8 or uint16: raw decoded pixels, every image somewhere in it, row by row."""
    start: Tensor
    """(N,) int64: where in `pixels` each image (its chosen mip level) begins, in elements."""
    shape: Tensor
    """(N,3) int32: height, width and channels of that level."""
    params: Tensor
    """(N,P) int32: draws already resolved on the host; columns in `kernels/sample/columns.py`."""
    target: dict[str, Tensor]
    """Dense tensors only: "label" (N,) int64; boxes and polygons as rows plus offsets."""
    index: Tensor
    """(N,) int64: the image's number in the manifest. Seeds the draws and keys the rows."""
    valid: Tensor
    """(N,) bool: False on padding. Nothing is dropped and nothing counts twice."""
    size: int
    """S in pixels."""
    image: Tensor | None = None
    """(N,C,S,S) channels-last: what the sample kernel made of it, once it has."""

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor but `pixels` on `device`.

        Copies to a GPU go through pinned memory: from pageable memory they would wait for it.
        """
        moved: dict[str, Any] = {
            f.name: _move(getattr(self, f.name), device) for f in fields(self) if f.name != "pixels"
        }
        return replace(self, **moved)


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        if device.type == "cuda" and value.device.type == "cpu":
            value = value.pin_memory()  # itself, where it is pinned already
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    return value
