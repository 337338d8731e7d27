"""What went in and how to get it again: data, recipe, plan, machine, command."""

import shlex
from typing import Any

from .folder import Run
from .markup import (
    NOTHING,
    Safe,
    branch,
    count,
    flatten,
    items,
    join,
    missing,
    number,
    pairs,
    plain,
    section,
    short,
    table,
    tag,
)

MACHINE = {
    "machine": "Machine", "cpu": "CPU", "cores": "Cores", "memory_gb": "Memory, GB", "gpu": "GPU",
    "python": "Python", "threads": "Threads", "world": "World", "load": "Load at the end",
    "commit": "Commit",
}  # fmt: skip
QUARANTINE_SHOWN = 200  # rows; the receipt has them all


def data(run: Run) -> Safe:
    """Counts against what the recipe expects, differences, split, leaks, licence, citation."""
    found, stated = branch(run.receipt, "data"), branch(run.recipe, "claim")
    about = [
        (key.capitalize(), found.get(key) or stated.get(key) or NOTHING)
        for key in ("licence", "citation")
    ]
    if not found:
        line = missing("No receipt yet, so the data has not been counted here.")
        return section("data", "Data", "", line, pairs(about))
    facts = pairs(
        [
            ("Split", found.get("split") or NOTHING),
            ("Groups shared between splits", leak(found.get("group_overlap"), "a patient")),
            ("Same files in two splits", leak(found.get("copies_across"), "a picture")),
            ("Manifest sha256", short(found.get("manifest_sha256"))),
            ("Fed from", found.get("feed") or NOTHING),
            *about,
        ]
    )
    note = "Images found, against what the recipe expects."
    return section("data", "Data", note, counts(found), differences(found), facts)


def counts(found: dict[str, Any]) -> Safe:
    """A table of classes by splits; a count that differs from the expected one says so."""
    splits, expected = branch(found, "counts"), branch(found, "expected")
    if not splits:
        return missing("The images have not been counted yet.")
    both = (expected, splits)
    names = dict.fromkeys(n for tree in both for s in tree for n in branch(tree, s))
    columns = list(dict.fromkeys([*splits, *expected]))
    rows = [
        (n, *(against(branch(splits, s).get(n), expected, s, n) for s in columns)) for n in names
    ]
    sums = [sum(v for v in map(number, branch(splits, s).values()) if v == v) for s in columns]
    total = ("all", *map(count, sums))
    return table(("", *columns), [*rows, total], "numbers counts")


def against(value: Any, expected: dict[str, Any], split: str, name: str) -> Safe:
    """One count, and in the warning colour the expected one where it differs."""
    wanted = branch(expected, split).get(name)
    if wanted is None or wanted == value:
        return tag("span", count(value))
    return tag("span", count(value), tag("small", f"expected {count(wanted)}", class_="bad"))


def differences(found: dict[str, Any]) -> Safe:
    """The differences the loader noted, or that there are none."""
    noted = items(found.get("differences"))
    if not noted:
        agrees = bool(branch(found, "expected"))
        return tag("p", "As expected, to the image." if agrees else "No count was expected.")
    return tag("ul", *(tag("li", line) for line in noted), class_="differences")


def leak(overlap: Any, what: str) -> Safe:
    """The leak line: groups (patients), or files, that appear in more than one split."""
    if overlap is None:
        unknown = "not checked: nothing says which patient an image is of (--data.group)"
        return tag("span", unknown if what == "a patient" else "not checked", class_="bad")
    if isinstance(overlap, dict):  # pair of splits -> groups on both sides
        overlap = ", ".join(f"{n} {pair}" for pair, n in overlap.items() if n)
    if not overlap:
        return tag("span", "none")
    text = f"{plain(overlap)}: scores are too high where {what} is in two splits"
    return tag("span", text, class_="bad")


def quarantined(run: Run) -> Safe:
    """Files that could not be used: by hash, with the reason."""
    found = branch(run.receipt, "data")
    listed = [row for row in items(found.get("quarantined")) if isinstance(row, dict)]
    if not listed:
        line = "No file was quarantined." if found else "No receipt yet."
        return section("quarantine", "Quarantine", "", missing(line))
    rows = [
        (short(row.get("sha256")), row.get("reason", NOTHING), row.get("split", NOTHING))
        for row in listed[:QUARANTINE_SHOWN]
    ]
    more = len(listed) - len(rows)
    note = f"{count(len(listed))} unreadable {'file' if len(listed) == 1 else 'files'}, left out."
    return section(
        "quarantine",
        "Quarantine",
        note,
        table(("sha256", "reason", "split"), rows),
        missing(f"{count(more)} more are in receipt.json.") if more else None,
    )


def settings(run: Run) -> Safe:
    """The whole recipe and the whole plan, folded away."""
    notes = [str(note) for note in items(run.plan.get("notes"))]
    listed = tag("ul", *(tag("li", note) for note in notes)) if notes else None
    folded = [fold("Recipe", run.recipe, "recipe.json"), fold("Plan", run.plan, "plan.json")]
    note = "Every value, as the run had it."
    return section("settings", "Recipe and plan", note, listed, *folded)


def fold(title: str, tree: dict[str, Any], name: str) -> Safe:
    """A key/value table that opens on demand."""
    if not tree:
        return missing(f"There is no {name} yet.")
    rows = flatten(tree)
    size = tag("span", f"{len(rows)} values")
    return tag("details", tag("summary", title, size), pairs(rows), class_="fold")


def environment(run: Run) -> Safe:
    """Machine and package versions."""
    identity = branch(run.receipt, "identity")
    packages = branch(identity, "packages")
    if not identity:
        line = missing("No receipt yet, so no machine is recorded.")
        return section("environment", "Environment", "", line)
    rows = [(label, plain(identity[key])) for key, label in MACHINE.items() if identity.get(key)]
    rows += [(name, plain(version)) for name, version in packages.items()]
    return section("environment", "Environment", "What the figures were taken on.", pairs(rows))


def reproduce(run: Run) -> Safe:
    """The command that makes this run again, and how to know that it did."""
    root = branch(run.recipe, "data").get("root")
    words = ["foveate", "train", run.name, *(["--data.root", str(root)] if root else [])]
    words = [str(word) for word in items(run.recipe.get("command"))] or words
    lines = [tag("p", "The recipe hash must come out as ", short(run.recipe_hash), ".")]
    if run.receipt.get("weights_sha256"):
        lines.append(
            tag("p", "On the same machine type, packages, world and threads per process, the "
                "last weights come out bit-equal: ", short(run.receipt["weights_sha256"]),
                ", and those that were scored: ", short(run.receipt.get("scored_sha256")), ".")
        )  # fmt: skip
    note = "With every field that differs from the recipe of that name."
    command = tag("pre", tag("code", shlex.join(words)))
    return section("reproduce", "Reproduce", note, command, join(lines))
