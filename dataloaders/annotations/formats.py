"""Every format through one door: which one it is, reading, writing, and what a change loses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError, StorageError
from .class_names import find_names
from .coco import read_coco
from .coco_writer import write_coco
from .jsonl import read_jsonl, write_jsonl
from .table import CROWD, DIFFICULT, OCCLUDED, POLYGON, RLE_TEXT, TRUNCATED, Annotations
from .voc import read_voc, write_voc
from .yolo import read_yolo, write_yolo

FORMATS = ("voc", "coco", "yolo", "jsonl")
FOLDERS = ("voc", "yolo")
"""Formats that are folders of files; the others are one file."""


def detect_format(path: Path) -> str:
    """voc, coco, yolo or jsonl by endings and first bytes. Raises DataError where none fits."""
    if path.is_dir():
        if (path / "Annotations").is_dir() or next(path.glob("*.xml"), None):
            return "voc"
        if (path / "labels").is_dir() or find_names(path) or next(path.glob("*.txt"), None):
            return "yolo"
        raise DataError(
            f"{path} holds neither Annotations/*.xml (VOC) nor labels/*.txt (YOLO); "
            "name the folder above them, or a COCO or JSONL file"
        )
    if not path.is_file():
        raise DataError(f"no file or folder {path}; name the annotations")
    known = {".jsonl": "jsonl", ".json": "coco", ".xml": "voc"}.get(path.suffix.lower())
    if known:
        return known
    raise DataError(f"{path} ends neither in .json, .jsonl nor .xml; say --format")


def read_annotations(
    path: Path, format: str = "auto", *, split: str = "", classes: Sequence[str] = ()
) -> Annotations:
    """Annotations of any format. `split` is a VOC list; `classes` fixes the order of names where
    a format has no list of its own (VOC, JSONL).

    Raises DataError, one line with the file, the place in it and what to do.
    """
    name = detect_format(path) if format == "auto" else format
    if name not in FORMATS:
        raise ValueError(f"format must be auto or one of {FORMATS}, got {format!r}")
    if split and name != "voc":
        raise DataError(f"{path} is {name}, which has no lists of splits; name a split's own file")
    if not path.exists():
        raise DataError(f"no file or folder {path}; name the annotations")
    if path.is_dir() and name not in FOLDERS:
        raise DataError(f"{path} is a folder and {name} is one file; name the file")
    if name == "voc":
        return read_voc(path, split, classes)
    if name == "coco":
        return read_coco(path)
    return read_yolo(path) if name == "yolo" else read_jsonl(path, classes)


def write_annotations(found: Annotations, path: Path, format: str) -> list[str]:
    """Write a new file or folder; returns what the format could not hold, a counted line each.

    Raises DataError where an image's size is missing or names clash, StorageError where `path`
    is there already or cannot be written.
    """
    if path.exists():
        raise StorageError(f"{path} is there already; name another place or remove it")
    writers = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo, "jsonl": write_jsonl}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[format](found, path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}; free space or name another place"
        ) from None
    return list_losses(found, format)


def list_losses(found: Annotations, format: str) -> list[str]:
    """What writing in `format` leaves out or changes; nothing where it was read from that."""
    if format == found.format:
        return []
    flags, kind = found.flags, found.masks.kind
    runs = int((kind >= RLE_TEXT).sum())
    rings = np.diff(found.masks.first)
    losses: list[tuple[int, str]] = [
        (_count_kept(found), f"values that only {found.format} has a place for are left out"),
        (int((~found.declared).sum()), "classes that no list declared are declared now"),
    ]
    if format in ("voc", "yolo", "jsonl"):
        losses.append((runs, "masks in run lengths become boxes"))
        losses.append((int((~np.isnan(found.area)).sum()), "stated areas are left out"))
    if format == "voc":
        losses.append((int((kind == POLYGON).sum()), "polygons become boxes"))
        losses.append((int((flags & CROWD > 0).sum()), "crowds are called difficult"))
    if format == "yolo":
        several = (kind == POLYGON) & (rings > 1) & (flags & CROWD == 0)
        losses.append((int((flags & CROWD > 0).sum()), "crowds are left out"))
        losses.append((int(several.sum()), "polygons of several rings keep their largest"))
        losses.append((int((flags & DIFFICULT > 0).sum()), "difficult flags are left out"))
    if format == "jsonl":
        losses.append((int((flags & DIFFICULT > 0).sum()), "difficult objects are called crowds"))
        losses.append(
            (
                int(((kind == POLYGON) & (found.stated > 15)).sum()),
                "boxes beside polygons are left out",
            )
        )
    if format in ("yolo", "jsonl"):
        hidden = int((flags & (TRUNCATED | OCCLUDED) > 0).sum())
        losses.append((hidden, "truncated or occluded flags are left out"))
    return [f"{count:,} {text}" for count, text in losses if count]


def _count_kept(found: Annotations) -> int:
    """Values beside the table, without those that only say how the file was laid out."""
    kept = found.kept
    layout = ("/", "silent", "file")
    columns = [*kept.images.items(), *kept.objects.items(), *kept.classes.items()]
    own = sum(len(column) for key, column in columns if not key.startswith(layout))
    return own + sum(not key.startswith("/") for key in kept.top)
