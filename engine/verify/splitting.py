"""`foveate data split`: a folder's images into parts by whole patients, written as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...dataloaders.errors import DataError, StorageError
from ...dataloaders.folder import check_pattern, find_group
from ...dataloaders.split.shares import Cut, cut_groups
from ...dataloaders.split.table import read_table, write_table
from ...dataloaders.verify.listing import Found, list_images
from ..recipe import expand


def split(
    root: Path, by: str, shares: dict[str, float], stratify: bool, seed: int, out: Path
) -> tuple[Cut, dict[str, Any]]:
    """Cut the images under `root` and write the table -> (the cut, what to say of it).

    `by` is a table with a column "group", or a regular expression whose first parenthesis names
    the patient; empty, every image is its own. Raises DataError where a part would lack a class.
    """
    found = list_images(root)
    group, matched = _find_groups(found, by)
    names, label = np.unique(found.label, return_inverse=True)
    cut = cut_groups(
        label, np.array(group), shares, stratify=stratify, seed=seed, names=tuple(names.tolist())
    )
    _keep_other(out, dict(zip(found.files, cut.part.tolist(), strict=True)))
    try:
        write_table(out, zip(found.files, cut.part.tolist(), group, strict=True))
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror}; give another --out") from None
    said = {
        "out": str(out),
        "classes": [name or "images" for name in names.tolist()],
        "shares": shares,
        "images": len(group),
        "groups": len(set(group)),
        "matched": matched,
        "by": by,
    }
    return cut, said


def _keep_other(out: Path, part: dict[str, str]) -> None:
    """A table says what a run was tested on: raise DataError rather than write over another cut."""
    try:
        before = read_table(out).part if out.exists() else part
    except DataError:
        before = {}
    if before != part:
        raise DataError(f"{out} is there and is not this cut; give another --out, or delete it")


def describe_cut(cut: Cut, said: dict[str, Any]) -> str:
    """Counts per part and class, and how far they are from what was asked for."""
    wide = max(12, *(len(name) + 2 for name in said["classes"]))
    lines = ["".ljust(wide) + "".join(part.rjust(18) for part in said["shares"])]
    total = cut.counts.sum(0)
    for number, name in enumerate(said["classes"]):
        cells = (
            f"{n:,} ({n / max(t, 1):.1%})".rjust(18)
            for n, t in ((counts[number], total[number]) for counts in cut.counts)
        )
        lines.append(name.ljust(wide) + "".join(cells))
    asked = ", ".join(f"{part} {share:.1%}" for part, share in said["shares"].items())
    lines += [
        "",
        f"{said['images']:,} images of {said['groups']:,} patients (groups), none in two parts",
        f"asked for {asked}; a class is off by {100 * cut.off:.1f} points at most "
        f"(the largest group is {100 * cut.largest:.1f} % of its class)",
    ]
    lost = said["images"] - said["matched"]
    if lost:
        what = "the pattern does not match" if said["by"] else "nothing (--by) says"
        lines.append(f"note: for {lost:,} images {what} whose they are; each counts as a patient")
    lines += [
        f"{said['out']}: train on it with --data.split table --data.table {said['out']}",
        "names alone were read: `foveate data verify ROOT --table CSV` finds copies in two parts",
    ]
    return "\n".join(lines)


def _find_groups(found: Found, by: str) -> tuple[list[str], int]:
    """Each file's group, itself where nothing says another; and for how many something does."""
    path = expand(by)
    if by and (by.endswith(".csv") or path.is_file()):
        table = read_table(path)
        if not table.group:
            raise DataError(f"{path} has no column 'group', which says whose an image is")
        own = [table.group.get(name, "") for name in found.files]
    else:
        check_pattern(by, "--by")
        own = [find_group(by, name) for name in found.files]
        own = ["" if key == name else key for key, name in zip(own, found.files, strict=True)]
    matched = sum(map(bool, own))
    if by and not matched:
        raise DataError(
            f"--by {by!r} finds no patient for any of {len(own):,} images; it is a regular "
            "expression for file names with a parenthesis, or a table with path and group"
        )
    return [key or name for key, name in zip(own, found.files, strict=True)], matched
