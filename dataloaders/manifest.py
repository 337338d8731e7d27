"""The list of a data set's files: what there is, what it is labelled, whom it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Manifest:
    """Files of a labelled data set in a fixed order (sorted by path, never by the file system).

    `files` are relative to `root`; `part` is the folder a file came from ("train", "test");
    `group` is whatever must not be split: a patient, a well, a slide. M files.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    label: np.ndarray
    """(M,) int64: place of the file's class in `classes`."""
    part: np.ndarray
    """(M,) str."""
    group: np.ndarray
    """(M,) str."""
    bytes: np.ndarray
    """(M,) int64: size of the file."""
    changed_ns: np.ndarray
    """(M,) int64: when the file was last changed, in ns since 1970."""
    strangers: int = 0
    """Files beside the images that are no images (and no dot files), counted, never read."""
    frame: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """(M,) int32: which image of its file a row is, or empty where each file is one image. Rows of
    a file stand together, in order and all of them, so that it is decoded once."""
    window: str | tuple[float, float] = "full"
    """How gray values of DICOM files become levels: "full", "file" or (center, width)."""
    allow_phi: bool = False
    """Whether DICOM files that may name patients are read."""
    flatfield: bool = False
    """Whether uneven light is divided out of every image (gray ones; `light.even_out`)."""
    notes: tuple[str, ...] = ()
    """What a person should know about the files, in words for console and report."""

    def __len__(self) -> int:
        return len(self.files)

    def rows_by_file(self, first: int = 0) -> Iterator[range]:
        """The rows of each file in turn, from row `first` on: one, but for files of frames."""
        starts = np.flatnonzero(self.frame == 0) if len(self.frame) else np.arange(len(self))
        starts = (
            np.concatenate([[first], starts[starts > first]]) if first < len(self) else starts[:0]
        )
        ends = [*starts.tolist()[1:], len(self)]
        return (range(a, b) for a, b in zip(starts.tolist(), ends, strict=False))

    @cached_property
    def listing_sha256(self) -> str:
        """Hash of names, sizes and times: a cheap key that finds a pack made from this listing.

        The root is no part of it: a copy elsewhere, times kept, finds the same pack.
        """
        sizes, times = self.bytes.tolist(), self.changed_ns.tolist()
        rows = zip(self.files, sizes, times, strict=True)
        text = "".join(f"{name}\0{size}\0{changed}\n" for name, size, changed in rows)
        if self.window != "full":  # other levels are another pack
            text += f"window {self.window}\n"
        if self.flatfield:
            text += "flatfield\n"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def members(self, part: str) -> np.ndarray:
        """(n,) int64: numbers of the files of one part."""
        return np.flatnonzero(self.part == part)

    def counts(self, members: np.ndarray) -> dict[str, int]:
        """Images per class among `members`."""
        found = np.bincount(self.label[members], minlength=len(self.classes))
        return {name: int(n) for name, n in zip(self.classes, found, strict=True)}
