"""Rows: one per image, keyed by its number in the manifest, however the images were batched."""

from __future__ import annotations

import torch

from .task import Rows


def gather(found: list[Rows]) -> Rows:
    """Batches of rows -> all rows on the CPU, sorted by "index"; padding and repeats are dropped.

    Every value is (N,...) and "index" (N,) int64 and "valid" (N,) bool are among them.
    """
    together = {name: torch.cat([rows[name].cpu() for rows in found]) for name in found[0]}
    valid = together.pop("valid")
    together = {name: value[valid] for name, value in together.items()}
    index = together["index"]
    order = torch.argsort(index, stable=True)
    fresh = torch.ones(len(order), dtype=torch.bool)
    fresh[1:] = index[order][1:] != index[order][:-1]
    return {name: value[order[fresh]] for name, value in together.items()}
