"""What the DICOM headers of a folder say before a pixel is read: frames, patients, may we go on.

Reading a header takes about a millisecond, so what was found is kept in the cache, by the names,
sizes and times of the files: numbers and a message without values, in a file for its owner only.
Patients become numbers here, in order of their first file; no id, and no hash of one, is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..decoders.decode import Unreadable
from ..errors import DataError
from .header import read_header
from .identifying import HINTS, Findings, refuse

FORMAT = 1
PATIENT = "dicom:PatientID"
"""What `group` is where the patient is named by the header and not by the file name."""
Listed = tuple[str, int, int]
"""Name relative to the root, bytes, time of the last change in ns."""


@dataclass(frozen=True)
class Survey:
    """The DICOM files of a folder, n of them, in order."""

    frames: list[int]
    """Images in each; 1 where the header is damaged, which reading the pixels will say again."""
    patient: list[int]
    """Number of the first file of the same patient; its own where the header names none."""
    unreadable: int
    """Files whose header is damaged: nothing is known of them, and they will not be used."""
    refusal: str
    """Why these files may only be read where `allow_phi` says so; empty where they may."""
    notes: list[str]


def survey(root: Path, files: Sequence[Listed], cache: Path | None = None) -> Survey:
    """Read every header, or what an earlier survey of the same files left in `cache`.

    Raises DataError where pydicom is missing, OSError where a file cannot be opened.
    """
    key = hashlib.sha256(repr((FORMAT, list(files))).encode(errors="surrogateescape")).hexdigest()
    kept = cache / "dicom" / f"{key[:32]}.json" if cache else None
    if kept and (before := _recall(kept, len(files))):
        return before
    found = _survey(root, files)
    if kept:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            _keep(found, kept)
    return found


def _recall(kept: Path, count: int) -> Survey | None:
    try:
        found = Survey(**json.loads(kept.read_text()))
        return found if len(found.frames) == len(found.patient) == count else None
    except (OSError, ValueError, TypeError):  # not there, or damaged: read the headers again
        return None


def _survey(root: Path, files: Sequence[Listed]) -> Survey:
    frames, patient, findings = [], [], []
    first: dict[bytes, int] = {}
    for number, (name, *_) in enumerate(files):
        try:
            with open(root / name, "rb") as file:
                header = read_header(file)
        except Unreadable:
            frames.append(1)
            patient.append(number)
            continue
        frames.append(header.frames)
        findings.append(header.findings)
        own = header.findings.patient
        patient.append(first.setdefault(own, number) if own else number)
    refusal = ""
    try:
        refuse(findings, len(files))
    except DataError as error:
        refusal = str(error)
    return Survey(frames, patient, len(files) - len(findings), refusal, _note(findings))


def _note(findings: Sequence[Findings]) -> list[str]:
    counts = Counter(hint for found in findings for hint in found.hints)
    hints = [f"{counts[hint]:,} with {hint}" for hint in HINTS if counts[hint]]
    named = sum(found.refused for found in findings)
    notes = [f"of {len(findings):,} DICOM files, {', '.join(hints)}"] if hints else []
    if named:
        notes.append(
            f"{named:,} of {len(findings):,} DICOM files may name patients; data.allow_phi let "
            "them in"
        )
    return notes


def _keep(found: Survey, path: Path) -> None:
    """Write beside and rename, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(work, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(found), file)
    work.replace(path)
