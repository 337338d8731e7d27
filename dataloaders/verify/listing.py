"""Which images a folder holds, whatever its layout: parts, classes, or neither."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..folder import DICOM, IMAGES, walk
from ..manifest import Manifest
from .facts import SLIDES
from .record import NAME

PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Names that make a folder a part of a set and not a class, in any case of letters."""


@dataclass(frozen=True)
class Found:
    """Every image under a root, sorted by name. M files."""

    root: Path
    files: tuple[str, ...]
    part: np.ndarray
    """(M,) str, "" where the set has no parts."""
    label: np.ndarray
    """(M,) str class names, "" where it has no classes."""
    strangers: dict[str, int]
    """Ending -> how many files that are no images."""
    empty: tuple[str, ...]
    """"part/class" of folders that should hold images and hold none."""


def as_manifest(found: Found) -> Manifest:
    """The same images as a manifest: what can be packed before any recipe names the set.

    Raises DataError where a file went away, or is a DICOM: whose header decides what it is.
    """
    if any(name.lower().endswith(DICOM) for name in found.files):
        raise DataError(
            "a folder of DICOM files is packed by a recipe, which says how to read them"
        )
    try:
        stats = [os.stat(found.root / name) for name in found.files]
    except OSError as error:
        raise DataError(f"{found.root} changed while it was listed: {error.strerror}") from None
    classes, label = np.unique(found.label, return_inverse=True)
    return Manifest(
        root=found.root,
        classes=tuple(classes.tolist()),
        files=found.files,
        label=label.astype(np.int64),
        part=found.part,
        group=np.array(found.files),
        bytes=np.array([stat.st_size for stat in stats], np.int64),
        changed_ns=np.array([stat.st_mtime_ns for stat in stats], np.int64),
    )


def list_images(root: Path, parts: Sequence[str] = (), classes: Sequence[str] = ()) -> Found:
    """List the images of a folder; `parts` and `classes` as a recipe names them, if one does.

    Without them the folder's own layout is read: ROOT/part/class, where every folder in ROOT is
    called train, test or the like; ROOT/class, where there are two or more; else one heap. Raises
    DataError where there is no folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; give the folder of a data set, or a recipe")
    names, strangers = _walk(root, parts)
    if not names:
        raise DataError(f"no image under {root}; files end with {' '.join((*IMAGES, *SLIDES))}")
    rows = [_place(name, parts) for name in names] if parts else _guess(names)
    found = set(rows)
    wanted = [(p, c) for p in parts for c in classes] if parts else _folders(root, rows)
    return Found(
        root=root,
        files=tuple(names),
        part=np.array([part for part, _ in rows]),
        label=np.array([label for _, label in rows]),
        strangers=dict(strangers.most_common()),
        empty=tuple(sorted(f"{p}/{c}".strip("/") for p, c in wanted if (p, c) not in found)),
    )


def _walk(root: Path, parts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Image names relative to the root, sorted, and the endings of everything else."""
    names, strangers = [], Counter[str]()
    try:
        for top in parts or (".",):
            if not (root / top).is_dir():
                continue
            for entry in walk(str(root / top)):
                ending = os.path.splitext(entry.name)[1].lower()
                if ending in IMAGES + SLIDES and entry.is_file():
                    names.append(Path(entry.path).relative_to(root).as_posix())
                elif entry.name not in (NAME, "twin.json"):
                    strangers[ending or "no ending"] += 1
    except OSError as error:
        where = error.filename if error.filename and os.path.isdir(error.filename) else root
        raise DataError(f"cannot list {where}: {error.strerror}; mend its permissions") from None
    return sorted(names), strangers


def _place(name: str, parts: Sequence[str]) -> tuple[str, str]:
    """(part, class) of a file in a recipe's layout."""
    part = next((p for p in parts if name.startswith(f"{p}/")), ".")
    rest = name.removeprefix(f"{part}/")
    return part, rest.partition("/")[0] if "/" in rest else ""


def _guess(names: list[str]) -> list[tuple[str, str]]:
    """(part, class) of every file, from how the folders are called."""
    steps = [name.split("/")[:-1] for name in names]
    if all(way and way[0].lower() in PARTS for way in steps):
        deep = all(len(way) > 1 for way in steps)
        return [(way[0], way[1] if deep else "") for way in steps]
    if all(steps) and len({way[0] for way in steps}) > 1:
        return [("", way[0]) for way in steps]
    return [("", "")] * len(names)


def _folders(root: Path, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Folders that stand where a class would, with images or without."""
    if not any(label for _, label in rows):
        return []
    tops = sorted({part for part, _ in rows})
    return [
        (part, entry.name)
        for part in tops
        for entry in os.scandir(root / part)
        if entry.is_dir() and not entry.name.startswith(".")
    ]
