"""Where a feed's raw pixels come from: one contract, three answers with the same pixels in them.

    Packed    a memory-mapped pack; a batch points into the map, or into a ring slot on its way
              to a device
    Resident  the whole pack in the memory of the device (or of the host)
    Stream    files decoded again in every epoch, ahead of use (stream.py)

Legend: M files of the manifest, L levels, n images of a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..pack.layout import Pack
from .ring import Ring

Cut = tuple[Tensor, np.ndarray, np.ndarray]
"""(B,) raw pixels; (n,) int64 where each image begins; (n,3) int32 its height, width, channels."""


class Held(Protocol):
    """Some images, ready to be cut from once their levels are chosen."""

    shape: np.ndarray
    """(n,L,3) int32, of every level; zeros where there is none."""

    @property
    def levels(self) -> np.ndarray:
        """(n,) int64: how many levels each image has; 0 where it cannot be read."""

    def cut(self, level: np.ndarray) -> Cut:
        """(n,) int64 levels -> where those pixels are. Good until the next cut but one."""


class Store(Protocol):
    """What feeds take images from, by their numbers in the manifest."""

    mode: str
    content_sha256: str
    """Hash over file names and contents; empty where the contents were never all read."""
    sha256: np.ndarray
    """(M,32) uint8 of every file that was read."""
    unreadable: dict[int, str]
    """Number -> reason, of those known so far."""

    def take(self, numbers: np.ndarray) -> Held:
        """(n,) int64 manifest numbers -> their images."""

    def ahead(self, batches: Iterator[np.ndarray]) -> None:
        """What will be taken next, in order; whoever can, begins with it."""

    def replace(self, bad: int, good: int) -> None:
        """In what `ahead` named, another image stands in for one that cannot be read."""

    def branch(self) -> Store:
        """The same images for another feed, which has an order of its own."""

    def close(self) -> None:
        """Let go of threads and memory."""


class PackHeld:
    """Rows of a pack's index."""

    def __init__(self, store: Packed, numbers: np.ndarray) -> None:
        self.store, self.numbers = store, numbers
        self.shape = store.pack.shape[numbers]

    @property
    def levels(self) -> np.ndarray:
        """(n,) int64."""
        return self.store.pack.levels[self.numbers]

    def cut(self, level: np.ndarray) -> Cut:
        """As `Held` says."""
        each = np.arange(len(level))
        start, shape = self.store.pack.start[self.numbers, level], self.shape[each, level]
        if self.store.ring is None:
            return self.store.pixels, start, shape
        images = [self.store.pack.pixels[a:b] for a, b in _spans(start, shape)]
        return *self.store.ring.gather(images), shape


class Packed:
    """A pack on disk, through the page cache. With a ring, images are copied to its device."""

    mode = "pack"

    def __init__(self, pack: Pack, ring: Ring | None = None) -> None:
        self.pack, self.ring = pack, ring
        self.pixels = _share(pack.pixels)
        self.content_sha256, self.sha256 = pack.content_sha256, pack.sha256
        self.unreadable = pack.unreadable

    @property
    def folder(self) -> Path:
        """Where the pack and its list of unreadable files lie."""
        return self.pack.folder

    def take(self, numbers: np.ndarray) -> Held:
        """As `Store` says."""
        return PackHeld(self, numbers)

    def ahead(self, batches: Iterator[np.ndarray]) -> None:
        """The page cache reads ahead by itself."""

    def replace(self, bad: int, good: int) -> None:
        """Nothing was begun with."""

    def branch(self) -> Store:
        """Any number of feeds read one map."""
        return self

    def close(self) -> None:
        """The system unmaps."""


class Resident(Packed):
    """A pack copied once into the memory of a device: no page fault and no copy afterwards."""

    mode = "resident"

    def __init__(self, pack: Pack, device: torch.device) -> None:
        super().__init__(pack)
        self.pixels = torch.empty(len(pack.pixels), dtype=self.pixels.dtype, device=device)
        self.pixels.copy_(_share(pack.pixels))


def _share(pixels: np.ndarray) -> Tensor:
    """The same memory as a tensor, to be read only: a pack's map cannot be written."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch says just that
        return torch.from_numpy(pixels)


def _spans(start: np.ndarray, shape: np.ndarray) -> Iterator[tuple[int, int]]:
    ends = start + shape.prod(axis=1, dtype=np.int64)
    return zip(start.tolist(), ends.tolist(), strict=True)
