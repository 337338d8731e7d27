"""Image folders: `<root>/<part>/<class>/<file>`, the layout of OCT2017 and most of the field.

Folders inside a class folder are read too, and links are followed, as torchvision's ImageFolder
does. Names that begin with a dot are passed over. A file without a suffix, or with one of digits
(an UID), is opened to see whether it is a DICOM: that is how scanners name them. A DICOM of several
frames has a row for each.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from .decoders.decode import is_dicom
from .dicom.survey import PATIENT, Survey, survey
from .errors import DataError
from .manifest import Manifest

DICOM = (".dcm", ".dicom")
IMAGES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", *DICOM)

Row = tuple[str, str, int, int, int]
"""Name relative to the root, part, label, bytes, time of the last change in ns."""


def scan(
    root: Path,
    classes: tuple[str, ...],
    parts: tuple[str, ...],
    group: str = "",
    *,
    window: str | tuple[float, float] = "full",
    allow_phi: bool = False,
    cache: Path | None = None,
) -> Manifest:
    """List the images of `parts` under `root`, sorted by name; reads headers of DICOM files only.

    `group` is a regular expression whose first parenthesis names a file's group (patient); where
    it is empty or does not match, a file is its own group. "dicom:PatientID" takes the patient
    that a DICOM's header names; a group is then called by its first file. Raises DataError where
    the root, a part or a class is missing or empty, a folder is there that no class names, or
    DICOM files may name patients and not `allow_phi`. `cache` keeps what headers said.
    """
    by_patient = group == PATIENT
    if by_patient:
        group = ""
    check_pattern(group)
    try:
        rows, strangers = _list(root, classes, parts)
        manifest = _manifest(root, classes, rows, group, strangers)
        dicoms = [n for n, name in enumerate(manifest.files) if _may_be_dicom(name)]
        if not dicoms:
            return manifest
        found = survey(root, [(rows[n][0], *rows[n][3:]) for n in dicoms], cache)
    except OSError as error:
        where = error.filename if error.filename and os.path.isdir(error.filename) else root
        raise DataError(f"cannot list {where}: {error.strerror}; mend its permissions") from None
    if found.refusal and not allow_phi:
        raise DataError(found.refusal)
    manifest = replace(manifest, window=window, allow_phi=allow_phi, notes=tuple(found.notes))
    return _by_frame(manifest, np.array(dicoms), found, by_patient)


def _list(root: Path, classes: tuple[str, ...], parts: tuple[str, ...]) -> tuple[list[Row], int]:
    """Every image of every part and class, sorted, and how many files are none."""
    rows: list[Row] = []
    strangers = 0
    check_root(root, parts)
    for part in dict.fromkeys(parts):
        check_classes(root / part, classes)
        for label, name in enumerate(classes):
            listed, others = _list_class(root, part, name, label)
            rows += listed
            strangers += others
    return sorted(rows), strangers


def check_root(root: Path, parts: Iterable[str]) -> None:
    """Raises DataError unless `root` is a folder that holds every part."""
    if not root.is_dir():
        raise DataError(f"no data folder {root}; point --data.root at the unpacked data set")
    for part in parts:
        if not (root / part).is_dir():
            there = ", ".join(_folders(root)) or "no folders"
            raise DataError(
                f"{root} has no folder '{part}' (it has {there}); "
                "point --data.root at the folder above it, or set --data.train or --data.test"
            )


def check_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Raises DataError unless the sub-folders of `folder` are exactly `classes`, two or more."""
    there = _folders(folder)
    if sorted(classes) != there:
        found = ", ".join(there) or "none"
        raise DataError(
            f"{folder} has the class folders {found}, the recipe names {', '.join(classes)}; "
            f"give --task.classes {shlex.join(there) or 'NAMES'} or mend the folder"
        )
    if len(classes) < 2:
        raise DataError(
            f"{folder} has one class only ({classes[0]}); a classifier needs two or more folders"
        )


def find_classes(root: Path, part: str) -> tuple[str, ...]:
    """Class names as the folder has them, sorted. Raises DataError as `scan` does."""
    check_root(root, (part,))
    return tuple(_folders(root / part))


def find_group(pattern: str, name: str) -> str:
    """The group of a file, `name` relative to the root: what the pattern's first parenthesis
    finds in its last part, else the whole of `name`, which no other file has."""
    match = re.search(pattern, name.rpartition("/")[2]) if pattern else None
    return (match.group(1) if match else "") or name


def check_pattern(group: str, flag: str = "--data.group") -> None:
    """Raises DataError unless `group` is empty or an expression with a parenthesis."""
    try:
        parentheses = re.compile(group).groups
    except re.error as error:
        raise DataError(f"{flag} {group!r} is no regular expression: {error}") from None
    if group and not parentheses:
        raise DataError(
            f"{flag} {group!r} has no parenthesis; put one around the part of a file name "
            "that says which patient it is of, as in '^[A-Z]+-(\\d+)-'"
        )


def _folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def _list_class(root: Path, part: str, name: str, label: int) -> tuple[list[Row], int]:
    """The rows of one class folder and how many files in it are no images."""
    folder, rows, strangers = root / part / name, [], 0
    prefix, cut = str(PurePosixPath(part, name)), len(str(folder))
    for entry in walk(str(folder)):
        if _is_image(entry):
            stat = entry.stat()
            rows.append((prefix + entry.path[cut:], part, label, stat.st_size, stat.st_mtime_ns))
        else:  # a link to nothing too
            strangers += 1
    if not rows:
        raise DataError(
            f"no image in class folder {folder}; "
            f"put files ({' '.join(IMAGES)}) there or take the class out of task.classes"
        )
    return rows, strangers


def _is_image(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file():
        return False
    if not _is_bare(entry.name):
        return entry.name.lower().endswith(IMAGES)
    with open(entry.path, "rb") as file:
        return is_dicom(file.read(132)) and entry.name != "DICOMDIR"


def _is_bare(name: str) -> bool:
    """Whether a name has no suffix, or one of digits as UIDs have."""
    _, dot, suffix = name.rpartition(".")
    return not dot or suffix.isdigit()


def _may_be_dicom(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.lower().endswith(DICOM) or _is_bare(last)


def _by_frame(manifest: Manifest, dicoms: np.ndarray, found: Survey, by_patient: bool) -> Manifest:
    """One row for every frame; `dicoms` are the numbers of the files that were surveyed."""
    frames = np.ones(len(manifest), np.int64)
    frames[dicoms] = found.frames
    group = manifest.group.copy()
    if by_patient:
        group[dicoms] = np.array(manifest.files)[dicoms[found.patient]]
    rows = np.repeat(np.arange(len(manifest)), frames)
    return replace(
        manifest,
        files=tuple(manifest.files[n] for n in rows.tolist()),
        label=manifest.label[rows],
        part=manifest.part[rows],
        group=group[rows],
        bytes=manifest.bytes[rows],
        changed_ns=manifest.changed_ns[rows],
        frame=(np.arange(len(rows)) - np.repeat(np.cumsum(frames) - frames, frames)).astype("i4"),
    )


def walk(folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder that is no folder; a link to a folder above is not followed."""
    stat = os.stat(folder)
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from walk(entry.path, (*above, here))
        else:
            yield entry


def _manifest(
    root: Path, classes: tuple[str, ...], rows: list[Row], group: str, strangers: int
) -> Manifest:
    files, part, label, size, changed = zip(*rows, strict=True)
    return Manifest(
        root=root,
        classes=classes,
        files=files,
        label=np.array(label, np.int64),
        part=np.array(part),
        group=np.array([find_group(group, name) for name in files]),
        bytes=np.array(size, np.int64),
        changed_ns=np.array(changed, np.int64),
        strangers=strangers,
    )
