"""Rows: one per image, keyed by its number in the manifest, however the images were batched."""

from __future__ import annotations

import torch

from ..task import Rows
from .world import World


def gather(found: list[Rows], world: World) -> Rows:
    """Batches of rows of all ranks -> all rows, sorted by "index", without padding and repeats.

    Every value is (N,...) on the CPU, "index" (N,) int64 and "valid" (N,) bool among them; every
    rank brings as many batches of as many rows, and every rank gets everything.
    """
    together = {name: torch.cat([rows[name] for rows in found]).cpu() for name in sorted(found[0])}
    together = {name: world.gather(value) for name, value in together.items()}
    valid = together.pop("valid")
    together = {name: value[valid] for name, value in together.items()}
    index = together["index"]
    order = torch.argsort(index, stable=True)
    fresh = torch.ones(len(order), dtype=torch.bool)
    fresh[1:] = index[order][1:] != index[order][:-1]
    return {name: value[order[fresh]] for name, value in together.items()}
