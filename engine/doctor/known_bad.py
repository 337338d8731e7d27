"""Versions that are known to be bad, each with its reason and the version that mended it.

Every entry has a public source; an entry is not a promise that other versions are good.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from .finding import Finding


@dataclass(frozen=True)
class Bad:
    """Versions of one package below `fixed`; or, where it is empty, those listed in `only`."""

    package: str
    fixed: str
    why: str
    only: tuple[str, ...] = ()

    def matches(self, version: str) -> bool:
        """Whether an installed version is one of them."""
        if self.only:
            return version.partition("+")[0] in self.only
        return number(version) < number(self.fixed)


MLFLOW = (
    "its server can be run by strangers (CVE-2026-116692) and its file store left "
    "(CVE-2026-53995): no `mlflow server` with it"
)
DALI = "its COCO, NPY, TFRecord and RecordIO readers trust what a damaged file says"
TABLE = (
    Bad("torch", "2.10", "a weights_only file can still run code (CVE-2026-24747)"),
    Bad("pillow", "13.0.0", "two critical memory errors, one of them in the JPEG decoder"),
    Bad("pydicom", "3.0.2", "a DICOMDIR can name files outside its folder (CVE-2026-32711)"),
    Bad("mlflow", "3.17.2", MLFLOW),
    Bad("mlflow-skinny", "3.17.2", MLFLOW),
    Bad("nvidia-dali-cuda130", "2.3", DALI),
    Bad("nvidia-dali-cuda120", "2.3", DALI),
    Bad(
        "lightning",
        "",
        "these two were malicious uploads (GHSA-w37p-236h-pfx3)",
        ("2.6.2", "2.6.3"),
    ),
)
TARFILE = {(3, 11): 14, (3, 12): 11, (3, 13): 4}
"""Python -> the first patch level whose tarfile keeps to its folder, and on 3.11 does not hang."""


def number(version: str) -> tuple[int, ...]:
    """(2, 14, 1) for "2.14.1+cu130": enough to tell which is older."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in release[0].split(".")] if release else [0]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def check_versions(installed: Mapping[str, str]) -> list[Finding]:
    """Package name -> version, as installed -> a warning for each that is known to be bad."""
    found = [
        Finding("warn", f"{bad.package} {installed[bad.package]}", bad.why, _mend(bad))
        for bad in TABLE
        if bad.package in installed and bad.matches(installed[bad.package])
    ]
    return found or [Finding("ok", "known-bad versions", f"none of {len(TABLE)} in the table")]


def _mend(bad: Bad) -> str:
    if bad.only:
        return f"pip uninstall {bad.package}, then change every password that it could read"
    return f"pip install '{bad.package}>={bad.fixed}'"


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    """The interpreter itself: old enough to have a tarfile that writes outside its folder?"""
    text = ".".join(map(str, version))
    least = TARFILE.get(version[:2], 0)
    if version[2] < least:
        return Finding(
            "warn",
            f"Python {text}",
            "tarfile can write outside the folder that it unpacks into, even with its data filter "
            "(CVE-2025-4517, -4330, -4138; -8194: it hangs)",
            f"unpack no strange archives with it, or take {version[0]}.{version[1]}.{least}",
        )
    return Finding("ok", f"Python {text}", "")
