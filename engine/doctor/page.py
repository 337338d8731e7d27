"""A diagnosis as text: 100 columns, a word for each mark, colour only on a terminal."""

from __future__ import annotations

import textwrap

from .finding import Diagnosis, Finding

WIDTH, INDENT = 100, 29
COLOURS = {"ok": "32", "warn": "33", "bad": "1;31", "note": "2"}


def describe_diagnosis(diagnosis: Diagnosis, colour: bool = False) -> str:
    """The page that `foveate doctor` prints."""
    lines = [f"foveate {diagnosis.version}"]
    for section in diagnosis.sections:
        if section.findings:
            lines += ["", section.name]
            lines += [line for finding in section.findings for line in _show(finding, colour)]
    summary = textwrap.fill(diagnosis.verdict, WIDTH, break_on_hyphens=False)
    return "\n".join([*lines, "", summary])


def _show(finding: Finding, colour: bool) -> list[str]:
    """`warn  name                 what is so: what to do about it`, wrapped under itself."""
    link = "; " if finding.mark == "note" else "; to mend: "
    text = link.join(part for part in (finding.said, finding.fix) if part)
    head = f"{finding.mark:5} {finding.what:21}  "
    body = textwrap.wrap(text, WIDTH - INDENT, break_on_hyphens=False) or [""]
    first = f"{head}{body[0]}".rstrip()
    if len(head) > INDENT:
        first, body = head.rstrip(), ["", *body]
    if colour:
        first = f"\x1b[{COLOURS[finding.mark]}m{finding.mark:5}\x1b[0m{first[5:]}"
    return [first, *(" " * INDENT + line for line in body[1:])]
