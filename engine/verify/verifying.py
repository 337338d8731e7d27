"""`foveate data verify`: a folder or a recipe's data, read once, held against all that is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...dataloaders.errors import DataError, StorageError
from ...dataloaders.folder import check_pattern, find_group
from ...dataloaders.split.table import Table, read_table
from ...dataloaders.verify.listing import Found, list_images
from ...dataloaders.verify.record import (
    NAME,
    Recorded,
    find_record,
    parse_record,
    place_in_cache,
    write_record,
)
from ...dataloaders.verify.survey import Survey, examine_all, survey
from ..plan import this_machine
from ..recipe import Recipe, expand
from ..run.console import Console, Logged
from ..run.listing import cache_folder, locate, parts_of
from .page import plain_survey

NO_RECORD = (
    "none: damage that decodes (most flipped bits do) cannot be found; "
    "`--record` writes one once the set is known to be good"
)


@dataclass(frozen=True)
class Request:
    """What to look at, and what it is held against."""

    root: Path
    parts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    group: str = ""
    """Regular expression whose first parenthesis names the patient in a file name."""
    table: str = ""
    record: str | None = None
    """Where to write the record: a path, "" for its usual place, None for nowhere."""
    expect: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Part -> images per class that the recipe expects."""
    sha256: str = ""


def request_recipe(
    recipe: Recipe, group: str = "", table: str = "", record: str | None = None
) -> Request:
    """A request for the data of a recipe. Raises DataError where it has no folder."""
    data = recipe.data
    root = locate(data, Logged())
    expect = {data.train: data.expect_train, data.test: data.expect_test}
    return Request(
        root,
        parts_of(data, root),
        recipe.task.classes,
        group or data.group,
        table or data.table,
        record,
        {part: counts for part, counts in expect.items() if part and counts and data.root},
        data.expect_sha256 if data.root else "",
    )


def verify(request: Request, console: Console) -> tuple[Survey, dict[str, Any]]:
    """Read every file once -> (what was seen, the same as plain values).

    Raises DataError where there is nothing to look at, StorageError where a record cannot be
    written.
    """
    check_pattern(request.group)
    found = list_images(request.root, request.parts, request.classes)
    table = read_table(expand(request.table)) if request.table else None
    if table and table.part:
        found = _take_parts(found, table)
    path = find_record(request.root, cache_folder())
    if request.record and Path(request.record).is_file():
        path = Path(request.record)
    record = parse_record(path) if path else None
    with console.stage("reading every image") as progress:
        facts = examine_all(found, this_machine().threads, progress)
    group = _find_groups(found, request.group, table)
    seen = survey(found, facts, group=group, record=record)
    said = plain_survey(seen, _say_record(path, record), [], _say_patients(group, request))
    if request.record is not None:
        said["record"] = _record(request, seen)
    said["differences"] = _differences(request, said)
    return seen, said


def _take_parts(found: Found, table: Table) -> Found:
    """The parts of a split table instead of the folders'."""
    own = [table.part.get(name, "in no part") for name in found.files]
    return replace(found, part=np.array(own))


def _find_groups(found: Found, pattern: str, table: Table | None) -> list[str]:
    """Each file's patient, "" where nothing says it."""
    if table and table.group:
        return [table.group.get(name, "") for name in found.files]
    own = [find_group(pattern, name) for name in found.files] if pattern else []
    if pattern and all(key == name for key, name in zip(own, found.files, strict=True)):
        raise DataError(f"--group {pattern!r} finds no patient in any file name; mend it")
    return ["" if key == name else key for key, name in zip(own, found.files, strict=False)]


def _say_patients(group: list[str], request: Request) -> str:
    known = sum(map(bool, group))
    if not known:
        return "not known: --group PATTERN or --table CSV says whose an image is"
    unknown = f"; {len(group) - known:,} images of nobody known" if known < len(group) else ""
    return f"{len(set(group) - {''}):,} in {known:,} images{unknown}"


def _say_record(path: Path | None, record: dict[str, Recorded] | None) -> str:
    return f"{path}, {len(record or ()):,} files" if path else NO_RECORD


def _record(request: Request, seen: Survey) -> str:
    """Write the record, unless that would make damage the truth; what was done, in words."""
    if any(finding.kind in ("changed", "missing") for finding in seen.findings):
        raise DataError(
            "files are not those of the record, so it was not written anew; bring the files back, "
            "or delete the record if they were changed on purpose"
        )
    rows = [
        (name, fact.sha256, fact.size)
        for name, fact in zip(seen.found.files, seen.facts, strict=True)
        if not fact.reason
    ]
    for path, private in _places(request):
        try:
            write_record(path, rows, private)
            return f"written to {path}, {len(rows):,} files"
        except OSError as error:
            said = error.strerror
    raise StorageError(f"cannot write record {path}: {said}; give --record PATH")


def _places(request: Request) -> list[tuple[Path, bool]]:
    """Where the record may go, best first, and whether it is for the owner's eyes alone.

    A root without any write bit is meant to be left alone, also by those who could (root).
    """
    if request.record:
        return [(Path(request.record), True)]
    in_cache = (place_in_cache(request.root, cache_folder()), True)
    writable = request.root.stat().st_mode & 0o222
    return [(request.root / NAME, False), in_cache] if writable else [in_cache]


def _differences(request: Request, said: dict[str, Any]) -> list[str]:
    """Where counts or contents are not the recipe's."""
    lines = []
    for part, expected in request.expect.items():
        counts = said["counts"].get(part, {})
        for name, wanted in zip(request.classes, expected, strict=False):
            if counts.get(name, 0) != wanted:
                lines.append(f"{part}/{name}: {counts.get(name, 0):,} images, {wanted:,} expected")
    strange = {name for part in said["counts"].values() for name in part} - set(request.classes)
    if request.classes and strange:
        lines.append(f"{len(strange)} class folders that the recipe does not name")
    if request.sha256 and request.sha256 != said["content_sha256"]:
        lines.append("the contents are not those that the recipe was made with (expect_sha256)")
    return lines
