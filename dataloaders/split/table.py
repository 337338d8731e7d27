"""A split written down: a small CSV that says of every image which part it is in, and whose it is.

    path,part,group
    Training/no_tumor/no_tumor-17.jpg,val,no_tumor-17

`path` is relative to the data root, with slashes. `part` is train, val or test; `group` is a
patient, a well, a slide; `weight` is how often an image comes beside the others. One of the three
is enough; other columns are passed over.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..manifest import Manifest
from ..verify.record import write_whole

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Table:
    """A split table as it was read. Maps are by path relative to the data root."""

    path: Path
    part: dict[str, str]
    """Empty where the table has no such column."""
    group: dict[str, str]
    weight: dict[str, float] = field(default_factory=dict)

    def weights(self, manifest: Manifest) -> np.ndarray:
        """(M,) float64, above 0. DataError where the table has none, or lacks a file."""
        if not self.weight:
            raise DataError(f"{self.path} has no column 'weight'; --data.balance table needs one")
        self._check(manifest, self.weight)
        return np.array([self.weight[name] for name in manifest.files])

    def apply_groups(self, manifest: Manifest) -> Manifest:
        """The manifest with the table's groups; DataError where it lacks a file."""
        if not self.group:
            return manifest
        self._check(manifest, self.group)
        return replace(manifest, group=np.array([self.group[name] for name in manifest.files]))

    def members(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """Part -> (n,) int64 numbers of its files. DataError where a file has no part."""
        if not self.part:
            raise DataError(f"{self.path} has no column 'part'; --data.split table needs one")
        self._check(manifest, self.part)
        own = np.array([self.part[name] for name in manifest.files])
        return {part: np.flatnonzero(own == part) for part in PARTS}

    def count_absent(self, manifest: Manifest) -> int:
        """How many lines of the table name a file that is not there."""
        return len(
            (self.part.keys() | self.group.keys() | self.weight.keys()) - set(manifest.files)
        )

    def _check(self, manifest: Manifest, known: Mapping[str, object]) -> None:
        missing = sum(name not in known for name in manifest.files)
        if missing:
            raise DataError(
                f"{missing:,} of {len(manifest):,} images under {manifest.root} are not in "
                f"{self.path}; paths in it are relative to the data root; "
                "`foveate data split` writes it anew"
            )


def read_table(path: Path) -> Table:
    """Read and check a split table. DataError names the line that is wrong, and no file in it."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"cannot read table {path}: {error.strerror}; give --data.table") from None
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = rows.fieldnames or []
    if "path" not in columns or not {"part", "group", "weight"} & set(columns):
        raise DataError(f"{path} needs the columns path and part, group or weight in line 1")
    table = Table(path, {}, {})
    seen: set[str] = set()
    try:
        for row in rows:
            _add(table, row, seen, rows.line_num)
    except csv.Error as error:
        raise DataError(f"{path} line {rows.line_num} is no CSV: {error}") from None
    return table


def hash_table(path: Path) -> str:
    """sha256 of the table's contents, whatever the order of its lines. DataError as `read_table`"""
    table = read_table(path)
    names = sorted(table.part.keys() | table.group.keys())
    text = "".join(f"{n}\0{table.part.get(n, '')}\0{table.group.get(n, '')}\n" for n in names)
    text += "".join(f"{name}\0{weight!r}\n" for name, weight in sorted(table.weight.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def write_table(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write (path, part, group) rows, sorted, mode 0600: names may hold patient ids."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("path", "part", "group"))
    lines.writerows(sorted(rows))
    write_whole(path, text.getvalue().encode(errors="surrogateescape"), private=True)


def _add(table: Table, row: dict[str, str | None], seen: set[str], line: int) -> None:
    where = f"{table.path} line {line}"
    name = (row["path"] or "").removeprefix("./")
    if not name or name in seen:
        raise DataError(f"{where} {'repeats a path' if name else 'has no path'}; mend that line")
    seen.add(name)
    part, group = row.get("part"), row.get("group")
    if "part" in row:
        if part not in PARTS:
            raise DataError(f"{where}: the part is none of {', '.join(PARTS)}; mend that line")
        table.part[name] = part
    if "group" in row:
        table.group[name] = group or name
    if "weight" in row:
        table.weight[name] = _read_weight(row["weight"] or "", where)


def _read_weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < math.inf:
        raise DataError(f"{where}: the weight is no number above 0; mend that line")
    return weight
