"""What `foveate data verify` says: a page for a person, the same as plain values for a program.

Files are named by hash. Names are shown only where the user asked for them, because they may hold
patient ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...dataloaders.pack.layout import hash_content
from ...dataloaders.verify.listing import PARTS
from ...dataloaders.verify.survey import Finding, Survey, path_of

FORMAT = 1
SHOWN = 8
RULE = "exit code 20 for damage or a leak; warnings alone are 0"


def describe_survey(seen: Survey, said: dict[str, Any]) -> str:
    """The page; `said` is what `plain_survey` gave."""
    lines = [_headline(said), "", *_counts(said["counts"]), *_pictures(said)]
    lines += [f"{'record':12}{line}" for line in (said["record"],)]
    for level in ("damage", "leak", "warning"):
        for finding in seen.findings:
            if finding.level == level:
                lines += ["", *_describe(seen, finding)]
    lines += [f"\nexpected: {line}" for line in said["differences"]]
    return "\n".join([*lines, "", f"{_verdict(seen)} ({RULE})"])


def plain_survey(
    seen: Survey, record: str, differences: list[str], patients: str
) -> dict[str, Any]:
    """Plain values of a survey, files by hash alone."""
    found, whole = seen.found, [fact for fact in seen.facts if not fact.reason]
    hashes = np.array([list(f.sha256.ljust(32, b"\0")) for f in seen.facts], np.uint8)
    return {
        "format": FORMAT,
        "root": str(found.root),
        "clean": seen.clean,
        "images": len(found.files),
        "bytes": sum(fact.size for fact in seen.facts),
        "content_sha256": hash_content(found.files, hashes),
        "counts": _count(seen),
        "kinds": dict(Counter(fact.kind for fact in whole)),
        "depths": dict(Counter(f"of {fact.depth} bits" for fact in whole)),
        "colour": sum(fact.channels == 3 and not fact.gray_in_colour for fact in whole),
        "gray": sum(fact.channels == 1 for fact in whole),
        "gray_in_colour": sum(fact.gray_in_colour for fact in whole),
        "progressive": sum(fact.progressive for fact in whole),
        "height": _spread([fact.height for fact in whole]),
        "width": _spread([fact.width for fact in whole]),
        "strangers": found.strangers,
        "record": record,
        "patients": patients,
        "differences": differences,
        "findings": [_plain(seen, finding) for finding in seen.findings],
    }


def name_files(seen: Survey) -> Iterator[str]:
    """A line per file that a finding is about, by name: for the user's own eyes."""
    for finding in seen.findings:
        yield f"{finding.level}: {finding.text}"
        for place, numbers in enumerate(finding.sets):
            why = f"  {finding.reasons[place]}" if finding.reasons else ""
            yield "  " + "  =  ".join(str(path_of(seen.found, n)) for n in numbers) + why
        if finding.kind == "missing":
            yield from (f"  {seen.found.root / name}" for name in seen.missing)


def _plain(seen: Survey, finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "kind": finding.kind,
        "text": finding.text,
        "files": [[seen.facts[n].sha256.hex() for n in numbers] for numbers in finding.sets],
        "reasons": list(finding.reasons),
    }


def _count(seen: Survey) -> dict[str, dict[str, int]]:
    """Part -> class -> images."""
    found = seen.found
    both = Counter(zip(found.part.tolist(), found.label.tolist(), strict=True))
    counts: dict[str, dict[str, int]] = {}
    for (part, name), count in sorted(both.items(), key=_by_part):
        counts.setdefault(part or "all", {})[name or "images"] = count
    return counts


def _by_part(item: tuple[tuple[str, str], int]) -> tuple[int, str, str]:
    """Train before val before test, then by name."""
    part, name = item[0]
    return PARTS.index(part.lower()) if part.lower() in PARTS else len(PARTS), part, name


def _spread(values: list[int]) -> dict[str, int]:
    if not values:
        return {}
    return {"least": min(values), "median": int(np.median(values)), "most": max(values)}


def _headline(said: dict[str, Any]) -> str:
    return f"{said['root']}: {said['images']:,} images, {said['bytes'] / 1e6:,.1f} MB"


def _counts(counts: dict[str, dict[str, int]]) -> list[str]:
    """A table of classes by parts, with sums."""
    names = dict.fromkeys(name for part in counts.values() for name in part)
    wide = max(12, *(len(name) + 2 for name in names))
    lines = ["".ljust(wide) + "".join(part.rjust(12) for part in counts)]
    for name in names:
        row = (f"{part.get(name, 0):,}".rjust(12) for part in counts.values())
        lines.append(name.ljust(wide) + "".join(row))
    if len(names) > 1:
        row = (f"{sum(part.values()):,}".rjust(12) for part in counts.values())
        lines.append("all".ljust(wide) + "".join(row))
    return [*lines, ""]


def _pictures(said: dict[str, Any]) -> Iterator[str]:
    """What the images are like."""
    mix = [f"{count:,} {kind}" for kind, count in (said["kinds"] | said["depths"]).items()]
    mix += [
        f"{said[name]:,} {text}"
        for name, text in (
            ("progressive", "progressive"),
            ("gray", "gray"),
            ("colour", "colour"),
            ("gray_in_colour", "gray stored as colour"),
        )
        if said[name]
    ]
    yield f"{'pictures':12}{', '.join(mix)}"
    for name, side in (("height", "high"), ("width", "wide")):
        if said[name]:
            least, median, most = said[name].values()
            span = f"{least:,} to {most:,} pixels {side}, median {median:,}"
            yield f"{'':12}{span if least < most else f'{least:,} pixels {side}, all of them'}"
    if said["strangers"]:
        listed = [f"{count:,} {ending}" for ending, count in said["strangers"].items()]
        yield f"{'other files':12}{', '.join(listed[:SHOWN])} (passed over)"
    yield f"{'patients':12}{said['patients']}"


def _describe(seen: Survey, finding: Finding) -> Iterator[str]:
    """A finding, with the hashes of its first files."""
    yield f"{finding.level.upper()}  {finding.text}"
    for place, numbers in enumerate(finding.sets[:SHOWN]):
        marks = " = ".join(seen.facts[n].sha256.hex()[:16] or "not opened" for n in numbers)
        where = sorted({"/".join(filter(None, (seen.found.part[n], seen.found.label[n])))
                        for n in numbers})  # fmt: skip
        why = finding.reasons[place] if finding.reasons else ""
        yield f"    {marks}  {' and '.join(where)}  {why}".rstrip()
    if len(finding.sets) > SHOWN:
        yield f"    and {len(finding.sets) - SHOWN:,} more; --json PATH lists all, --names by name"


def _verdict(seen: Survey) -> str:
    tally = Counter(finding.level for finding in seen.findings)
    if not tally:
        return "nothing found"
    names = {"damage": "damage", "leak": "leaks", "warning": "warnings"}
    kinds = [f"{names[level]} of {tally[level]} kind{'s' * (tally[level] > 1)}" for level in tally]
    return f"{'fit to train on' if seen.clean else 'not fit to train on'}: {', '.join(kinds)}"
