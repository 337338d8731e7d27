"""What is wrong with a data set, in findings that a person can act on.

A finding is damage (files that are not usable, or not what they were), a leak (the same patient or
the same bytes in two parts), or a warning. Damage and leaks make a set unfit; warnings do not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from .facts import Facts, examine
from .listing import Found
from .near import NEAR, find_near
from .record import Recorded, differs

Level = Literal["damage", "leak", "warning"]
Sets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Finding:
    """One kind of fault and where it is."""

    level: Level
    kind: str
    """A word for programs: unreadable, changed, missing, patient, copy, label, near, ..."""
    text: str
    """One sentence; names no file."""
    sets: Sets = ()
    """Numbers of the files that belong together: one each, or copies of one picture."""
    reasons: tuple[str, ...] = ()
    """One for each set, where they differ."""


@dataclass(frozen=True)
class Survey:
    """Everything that reading a set once tells. M files."""

    found: Found
    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]
    """Names in the record that are not there; for the user's own eyes."""

    @property
    def clean(self) -> bool:
        """No damage and no leak; there may be warnings."""
        return all(finding.level == "warning" for finding in self.findings)


def examine_all(
    found: Found, threads: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Facts, ...]:
    """Facts of every file in order, `threads` at work."""
    paths = [found.root / name for name in found.files]
    facts = []
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        for fact in pool.map(examine, paths):
            facts.append(fact)
            if progress:
                progress(len(facts), len(paths))
    return tuple(facts)


def survey(
    found: Found,
    facts: tuple[Facts, ...],
    *,
    group: Sequence[str] = (),
    record: Mapping[str, Recorded] | None = None,
) -> Survey:
    """Put the facts of all files together. `group` is each file's patient, "" where unknown."""
    whole = np.array([not fact.reason for fact in facts])
    missing = [name for name in record or () if not (found.root / name).exists()]
    findings = [
        *_find_damage(found, facts, record, missing),
        *_find_patients(found, group),
        *_find_copies(found, facts, whole),
        *_find_near(found, facts, group),
        *_find_oddities(found, facts, record),
    ]
    return Survey(found, facts, tuple(findings), tuple(missing))


def _find_damage(
    found: Found,
    facts: Sequence[Facts],
    record: Mapping[str, Recorded] | None,
    missing: Sequence[str],
) -> Iterator[Finding]:
    bad = [n for n, fact in enumerate(facts) if fact.reason]
    if bad:
        text = f"{_files(len(bad))} cannot be used"
        reasons = tuple(facts[n].reason for n in bad)
        yield Finding("damage", "unreadable", text, tuple((n,) for n in bad), reasons)
    other = [
        (n, why)
        for n, (name, fact) in enumerate(zip(found.files, facts, strict=True))
        if fact.sha256 and (why := differs(record, name, fact.sha256))
    ]
    if other:
        text = f"{_files(len(other))} changed since the record was made"
        sets, reasons = tuple((n,) for n, _ in other), tuple(why for _, why in other)
        yield Finding("damage", "changed", text, sets, reasons)
    if missing:
        yield Finding("damage", "missing", f"{_files(len(missing))} of the record not there")
    if found.empty:
        text = f"no image where some should be: {', '.join(found.empty)}"
        yield Finding("damage", "empty", text)


def _find_patients(found: Found, group: Sequence[str]) -> Iterator[Finding]:
    """Groups with images in two parts."""
    own = np.array(group or [""] * len(found.files))
    for one, other in combinations(sorted(set(found.part.tolist())), 2):
        sides = (own[(found.part == side) & (own != "")] for side in (one, other))
        both = np.intersect1d(*sides)
        if len(both):
            here = np.flatnonzero(np.isin(own, both) & np.isin(found.part, (one, other)))
            text = f"{len(both):,} patients (groups) are in both {one} and {other}, with "
            text += f"{len(here):,} images"
            yield Finding("leak", "patient", text, tuple((n,) for n in here.tolist()))


def _find_copies(found: Found, facts: Sequence[Facts], whole: np.ndarray) -> Iterator[Finding]:
    """The same bytes more than once: across parts, under two labels, or merely twice."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for number in np.flatnonzero(whole).tolist():
        same[facts[number].sha256].append(number)
    sets = tuple(tuple(numbers) for numbers in same.values() if len(numbers) > 1)
    across = _unlike(sets, found.part)
    if across:
        text = f"{_pictures(len(across))} in two parts, byte for byte"
        yield Finding("leak", "copy", text, across)
    labels = _unlike(sets, found.label)
    if labels:
        text = f"{_pictures(len(labels))} under two labels, byte for byte: one label is wrong"
        yield Finding("warning", "label", text, labels)
    rest = tuple(numbers for numbers in sets if numbers not in across + labels)
    if rest:
        more = sum(len(numbers) - 1 for numbers in rest)
        text = f"{more:,} files are byte for byte copies of another in the same part and class"
        yield Finding("warning", "twice", text, rest)


def _find_near(found: Found, facts: Sequence[Facts], group: Sequence[str]) -> Iterator[Finding]:
    """Pictures that look the same and are not the same bytes; images of one patient may."""
    first = {  # of exact copies in one place, one is enough
        (fact.sha256, found.part[n], found.label[n]): n
        for n, fact in reversed(list(enumerate(facts)))
        if fact.signs
    }
    numbers = np.array(sorted(first.values()), np.int64)
    if len(numbers) < 2:
        return
    signs = np.frombuffer(b"".join(facts[n].signs for n in numbers), np.uint8).reshape(-1, 24)
    pairs, _ = find_near(signs)
    sets = tuple(
        (one, other)
        for one, other in numbers[pairs].tolist()
        if facts[one].sha256 != facts[other].sha256
        and not (group and group[one] and group[one] == group[other])
    )
    across = _unlike(sets, found.part)
    if across:
        text = f"{len(across):,} pairs across parts look the same (leak candidates: look at them)"
        yield Finding("warning", "near-across", text, across)
    labels = _unlike(tuple(pair for pair in sets if pair not in set(across)), found.label)
    if labels:
        text = f"{len(labels):,} pairs under two labels look the same"
        yield Finding("warning", "near-label", text, labels)
    rest = tuple(sorted(set(sets) - set(across) - set(labels)))
    if rest:
        text = f"{len(rest):,} pairs within a part and class look the same ({NEAR} of 192 signs)"
        yield Finding("warning", "near", text, rest)


def _find_oddities(
    found: Found, facts: Sequence[Facts], record: Mapping[str, Recorded] | None
) -> Iterator[Finding]:
    """What is no fault by itself and surprises people later."""
    tests = (
        ("mixed", "8 and 16 bit images are mixed; a pack takes one kind", _minority(facts)),
        ("blank", "{} of one colour", [n for n, f in enumerate(facts) if _is_blank(f)]),
        ("turned", "{} with an EXIF orientation, which training ignores",
         [n for n, f in enumerate(facts) if f.turned]),
        ("new", "{} not in the record (added later? `--record` adds them)",
         [n for n, name in enumerate(found.files) if record is not None and name not in record]),
    )  # fmt: skip
    for kind, text, numbers in tests:
        if numbers:
            text = text.format(_files(len(numbers)))
            yield Finding("warning", kind, text, tuple((n,) for n in numbers))


def _is_blank(fact: Facts) -> bool:
    return not fact.reason and not fact.signs and fact.kind != "slide"


def _minority(facts: Sequence[Facts]) -> list[int]:
    """The files of the rarer depth, where there are two."""
    depths = Counter(fact.depth for fact in facts if not fact.reason)
    rare = [depth for depth, _ in depths.most_common()[1:]]
    return [n for n, fact in enumerate(facts) if fact.depth in rare]


def _unlike(sets: Sets, key: np.ndarray) -> Sets:
    """The sets whose files do not all have the same key."""
    return tuple(numbers for numbers in sets if len(set(key[list(numbers)].tolist())) > 1)


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"


def _pictures(count: int) -> str:
    return f"{count:,} {'picture is' if count == 1 else 'pictures are'}"


def path_of(found: Found, number: int) -> Path:
    """Where a file lies, for the user's own eyes."""
    return found.root / found.files[number]
