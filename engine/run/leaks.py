"""What two splits have in common and should not: patients, and pictures byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...dataloaders.feed.store import Store
from ...dataloaders.split.hold_out import duplicates_across


@dataclass(frozen=True)
class Leaks:
    """Pair of splits, as in "train and test" -> how much is on both sides."""

    groups: dict[str, int] | None
    """Groups (patients); None where nothing says whose an image is."""
    copies: dict[str, int] | None
    """Images of the second split whose bytes are in the first as well; None for a stream that
    has not read them all."""

    def say(self, split: str) -> str:
        """One sentence on what makes the scores of `split` too high; "" where nothing does."""
        pair = f"train and {split}"
        found = []
        if self.groups and self.groups.get(pair):
            found.append(f"{self.groups[pair]:,} patients (groups) are in both {pair}")
        if self.copies and self.copies.get(pair):
            found.append(f"{self.copies[pair]:,} {split} images are byte for byte in train too")
        return f"LEAK: {' and '.join(found)}: the {split} score is too high" if found else ""


def find_leaks(
    overlaps: dict[str, int] | None, store: Store, members: Mapping[str, np.ndarray]
) -> Leaks:
    """The leaks of a split; what cannot be read is in no split."""
    everyone = np.unique(np.concatenate(list(members.values())))
    if not store.sha256[everyone].any(axis=1).all():
        return Leaks(overlaps, None)
    bad = np.array(list(store.unreadable), np.int64)
    readable = {name: np.setdiff1d(found, bad) for name, found in members.items()}
    return Leaks(overlaps, duplicates_across(store.sha256, readable))
