"""The synthetic twins that can be drawn, by the kind that a recipe names."""

from __future__ import annotations

from collections.abc import Callable

from .oct import write_oct

TWINS: dict[str, Callable[..., None]] = {"oct": write_oct}
"""Kind -> write(root, *, train, test, seed, progress)."""
