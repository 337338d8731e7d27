"""The synthetic twins that can be drawn, by the kind that a recipe names."""

from __future__ import annotations

from collections.abc import Callable

from .brain import write_brain
from .oct import write_oct
from .xray import write_xray

TWINS: dict[str, Callable[..., None]] = {
    "oct": write_oct,
    "brain": write_brain,
    "xray": write_xray,
}
"""Kind -> write(root, *, train, test, seed, progress)."""
