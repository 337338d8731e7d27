"""Licences of everything installed, by the packages' own metadata."""

from __future__ import annotations

import re
from collections import Counter
from importlib import metadata

from .finding import Finding, Mark

FAMILIES = (
    ("AGPL", r"\bAGPL|Affero"),
    ("LGPL", r"\bLGPL|Lesser General|Library or Lesser"),
    ("GPL", r"\bGPL|GNU General"),
    ("proprietary", r"Proprietary|LicenseRef-NVIDIA|NVIDIA"),
    ("MPL", r"\bMPL|Mozilla"),
    ("Apache", r"Apache"),
    ("BSD", r"\bBSD|\b0BSD"),
    ("MIT", r"\bMIT\b|MIT-"),
    ("PSF", r"\bPSF|Python Software"),
    ("other", r"\b(ISC|Zlib|Unlicense|CC0|HPND|BSL|WTFPL|Public Domain|ZPL|EPL|Boost)\b"),
)
"""Family and what its licences are called; the first that is found names the package."""
STRICT = ("AGPL", "GPL")
WHAT = {
    "AGPL": "whoever offers a service with it owes its users the source",
    "GPL": "what is passed on together with it comes under it too",
    "LGPL": "fine to use; passed on, it must stay replaceable",
    "unknown": "their metadata names no licence: read what comes with them",
}


def check_licences() -> list[Finding]:
    """A count of families, and each package that somebody should look at by name."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        found.setdefault(package.metadata["Name"] or "unnamed", family(package.metadata))
    counts = Counter(found.values())
    text = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    findings = [Finding("ok", f"{len(found)} packages", text)]
    for name, why in WHAT.items():
        of_it = sorted((p for p, licence in found.items() if licence == name), key=str.lower)
        if of_it:
            mark: Mark = "warn" if name in STRICT else "note"
            findings.append(Finding(mark, name, f"{', '.join(of_it)}: {why}"))
    return findings


def family(facts: metadata.PackageMetadata) -> str:
    """Family of one package's licence: its expression, else its classifiers, else its text's head.

    Of a choice (MIT OR GPL) the milder counts. A whole licence text in the field is read for its
    first 200 letters only: further down it may quote those of others.
    """
    for expression in facts.get_all("License-Expression") or []:
        return _mildest(expression)
    classifiers = [c for c in facts.get_all("Classifier") or [] if c.startswith("License ::")]
    own = (facts.get_all("License") or [""])[0]
    for text in (" ".join(c.rpartition("::")[2] for c in classifiers), own):
        named = _name(text[:200])
        if named != "unknown":
            return named
    return "unknown"


def _mildest(expression: str) -> str:
    """The last of the families, in their order, that an SPDX expression lets one choose."""
    order = [name for name, _ in FAMILIES] + ["unknown"]
    choices = [_name(part) for part in re.split(r"\bOR\b", expression)]
    return max(choices, key=lambda name: (name != "unknown", order.index(name)))


def _name(text: str) -> str:
    for name, pattern in FAMILIES:
        if re.search(pattern, text):
            return name
    return "unknown"
