"""Verbs about annotations: check and convert. What they show names no image."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from ...dataloaders.errors import DataError
from ..failure import UsageError
from .answer import write_answer
from .guards import check_output


def help(known: Namespace) -> int:
    """`foveate data annotations` alone."""
    raise UsageError("`foveate data annotations` needs a verb: check or convert")


def check(known: Namespace) -> int:
    """`foveate data annotations check PATH`; 20 where something is wrong that no step mends."""
    from ...dataloaders.annotations.check import check_annotations
    from ...dataloaders.annotations.formats import read_annotations
    from ...dataloaders.annotations.usable import describe_usable, make_usable

    check_output(known.json)
    published = _find_known(known.known, known.split)
    # The split of a published set may be this whole file: then there is no list of it.
    split = _voc_split(known) if published else known.split
    found = read_annotations(known.path, known.format, split=split)
    findings = check_annotations(found, _images(known), published, known.split if published else "")
    usable, counts = make_usable(found, published)
    facts: dict[str, Any] = {
        "format": 1,
        "read_as": found.format,
        "images": len(found.names),
        "objects": len(found),
        "classes": found.per_class(),
        "findings": [finding.to_dict() for finding in findings],
        "usable": {"images": len(usable.names), "objects": len(usable), "went": counts},
    }
    if not write_answer(known.json, facts):
        classes = ", ".join(f"{name} {count:,}" for name, count in facts["classes"].items())
        print(f"{known.path}: {found.format}, {facts['images']:,} images, {len(found):,} objects")
        print(f"classes: {classes}")
        for finding in findings:
            print(f"{finding.grade:6}  {finding.count:,} {finding.text}")
            print("".join(f"        {example}\n" for example in finding.examples), end="")
        print(describe_usable(usable, counts))
    return 20 if any(finding.grade == "wrong" for finding in findings) else 0


def convert(known: Namespace) -> int:
    """`foveate data annotations convert FROM TO --to FORMAT [--usable]`"""
    from ...dataloaders.annotations.formats import read_annotations, write_annotations
    from ...dataloaders.annotations.usable import describe_usable, make_usable

    found = read_annotations(known.path, known.format, split=known.split)
    if known.usable:
        found, counts = make_usable(found)
        print(describe_usable(found, counts))
    losses = write_annotations(found, known.target, known.to)
    print(f"{known.target}: {known.to}, {len(found.names):,} images, {len(found):,} objects")
    print("".join(f"        {loss}\n" for loss in losses), end="")
    return 0


def _find_known(name: str, split: str) -> Any:
    from ...dataloaders.annotations.known import KNOWN

    if not name:
        return None
    if name not in KNOWN:
        raise UsageError(f"no published set '{name}'; it is one of {' '.join(KNOWN)}")
    if split and split not in KNOWN[name].splits:
        there = " ".join(KNOWN[name].splits)
        raise UsageError(f"{name} has no split '{split}'; it is one of {there}")
    return KNOWN[name]


def _voc_split(known: Namespace) -> str:
    """The split's list where the folder has one; else the file or folder is the split."""
    listing = known.path / "ImageSets" / "Main" / f"{known.split}.txt"
    return known.split if known.split and listing.is_file() else ""


def _images(known: Namespace) -> Path | None:
    """The images' folder: as given, or where the format has it."""
    if known.images:
        if not known.images.is_dir():
            raise DataError(f"no folder {known.images}; name the images' folder")
        return Path(known.images)
    for name in ("JPEGImages", "images"):
        for folder in (known.path, known.path.parent):
            if (folder / name).is_dir():
                return Path(folder / name)
    return None
