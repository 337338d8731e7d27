"""Scores, confusion matrices and the table of classes."""

import math
from collections.abc import Sequence
from typing import Any

from .folder import Run
from .markup import (
    NOTHING,
    Safe,
    branch,
    count,
    interval,
    items,
    missing,
    number,
    percent,
    section,
    table,
    tag,
    wilson,
)

CELLS = 24  # classes up to which a matrix is readable; beyond, the largest confusions are listed
LISTED = 20
WORDS = {"auc": "area under ROC, mean of one class against the rest", "loss": "cross-entropy"}
COUNTS = ("images", "wrong")  # scores that are counts
SHARES = ("accuracy", "recall", "precision")  # scores that are shares, by the end of their name


def show_scores(run: Run) -> Safe:
    """Every score of every split, with its interval where there is one."""
    splits = branch(run.receipt, "scores")
    if not splits:
        return section("scores", "Scores", "", missing("No receipt yet, so no final scores."))
    names = [name for split in splits for name in branch(splits, split)]
    own = [name for name in dict.fromkeys(names) if overall(name, names)]
    rows = [
        (WORDS.get(name, name.replace("_", " ")), *(score(branch(splits, s), name) for s in splits))
        for name in own
    ]
    note = "In brackets: 95\u202f% interval."
    return section("scores", "Scores", note, table(("", *splits), rows, "numbers"))


def overall(name: str, names: Sequence[str]) -> bool:
    """Whether a score is about the whole split: not a bound, and not about one class."""
    bound = name.rpartition("_")
    if bound[2] in ("low", "high") and bound[0] in names:
        return False
    return not name.startswith(("recall_", "precision_", "support_"))


def score(scores: dict[str, Any], name: str) -> str:
    """One score as text."""
    value = number(scores.get(name))
    if name in COUNTS:
        return count(value)
    if not name.endswith(SHARES) or not 0 <= value <= 1:  # a loss or an area, say, or NaN
        return f"{value:,.4g}" if math.isfinite(value) else NOTHING
    bounds = interval(scores.get(f"{name}_low"), scores.get(f"{name}_high"))
    return percent(value) + (f" ({bounds})" if bounds != NOTHING else "")


def matrices(run: Run) -> list[tuple[str, list[list[float]]]]:
    """(split, counts by truth and prediction) for each split with a square matrix."""
    size = len(items(run.receipt.get("classes")))
    found = []
    for split, rows in branch(run.receipt, "confusion").items():
        counts = [[number(cell) for cell in items(row)] for row in items(rows)]
        if len(counts) == size and all(len(row) == size for row in counts) and size:
            found.append((split, counts))
    return sorted(found, key=lambda pair: pair[0] != "test")


def confusion(run: Run) -> Safe:
    """One matrix per split: rows are the truth, columns what the model said."""
    found = matrices(run)
    if not found:
        return section("confusion", "Confusion", "", missing("No confusion matrix yet."))
    classes = items(run.receipt.get("classes"))
    draw = matrix if len(classes) <= CELLS else largest
    drawn = [draw(split, classes, counts) for split, counts in found]
    note = "Rows: truth. Columns: prediction. Counts, and the share of their row."
    return section("confusion", "Confusion", note, tag("div", *drawn, class_="grid"))


def matrix(split: str, classes: Sequence[Any], counts: list[list[float]]) -> Safe:
    """The matrix as a table; the depth of a cell's colour is its share of the row."""
    rows = []
    for truth, row in enumerate(counts):
        total = sum(row)
        cells = [cell(value, total, truth == said) for said, value in enumerate(row)]
        rows.append(tag("tr", tag("th", classes[truth], scope="row"), *cells))
    corner = tag("th", Safe("truth&nbsp;\u2193&ensp;said&nbsp;\u2192"), class_="corner")
    head = tag("tr", corner, *(tag("th", name, scope="col") for name in classes))
    body = tag("table", tag("thead", head), tag("tbody", *rows), class_="matrix")
    return tag("figure", tag("figcaption", split.capitalize()), tag("div", body, class_="scroll"))


def cell(value: float, total: float, right: bool) -> Safe:
    """One cell: the count, the share of its row, and a colour as deep as that share."""
    share = value / total if total else math.nan
    kind = ("hit" if right else "miss") if value else "none"
    depth = f"--p:{100 * share:.1f}%" if value else None
    written = percent(share, 1) if value else NOTHING
    return tag("td", tag("b", count(value)), tag("small", written), class_=kind, style=depth)


def largest(split: str, classes: Sequence[Any], counts: list[list[float]]) -> Safe:
    """The largest confusions as a list, where a matrix would not fit a page."""
    wrong = sorted(
        ((-value, truth, said) for truth, row in enumerate(counts) for said, value in enumerate(row)
         if truth != said and value > 0)
    )[:LISTED]  # fmt: skip
    rows = [
        (classes[truth], classes[said], count(-value), percent(-value / sum(counts[truth]), 1))
        for value, truth, said in wrong
    ]
    head = ("truth", "said", "images", "of the row")
    return tag(
        "figure", tag("figcaption", f"{split.capitalize()}: largest"), table(head, rows, "numbers")
    )


def per_class(run: Run) -> Safe:
    """Support, recall with its Wilson interval, and precision of each class."""
    found = matrices(run)
    if not found:
        return section("classes", "Classes", "", missing("No results per class yet."))
    tables = [class_table(run, split, counts) for split, counts in found]
    note = "Recall is sensitivity, precision the positive predictive value in this split's mix."
    return section("classes", "Classes", note, *tables)


def class_table(run: Run, split: str, counts: list[list[float]]) -> Safe:
    """One split's classes. The bars share one scale, which begins at a round tenth."""
    scores = branch(run.receipt, "scores", split)
    classes = [str(name) for name in items(run.receipt.get("classes"))]
    recalls = [recall(scores, classes[n], counts[n][n], sum(counts[n])) for n in range(len(counts))]
    lows = [low for _, low, _ in recalls if math.isfinite(low)]
    floor = math.floor(10 * min(lows, default=0)) / 10
    rows = []
    for n, (share, low, high) in enumerate(recalls):
        said = sum(row[n] for row in counts)
        precise = percent(counts[n][n] / said if said else math.nan, 1)
        bar = whisker(share, low, high, floor)
        bounds = interval(low, high)
        rows.append((classes[n], count(sum(counts[n])), percent(share, 1), bounds, bar, precise))
    axis = tag("span", tag("i", percent(floor, 0)), tag("i", percent(1, 0)), class_="axis")
    head = ("", "support", "recall", "95\u202f% interval", axis, "precision")
    return tag(
        "figure", tag("figcaption", split.capitalize()), table(head, rows, "numbers classes")
    )


def recall(
    scores: dict[str, Any], name: str, hits: float, total: float
) -> tuple[float, float, float]:
    """Recall and interval as the receipt states them, else from the counts."""
    stated = [number(scores.get(f"recall_{name}{end}")) for end in ("", "_low", "_high")]
    if all(math.isfinite(value) for value in stated):
        return stated[0], stated[1], stated[2]
    return (hits / total if total else math.nan, *wilson(hits, total))


def whisker(share: float, low: float, high: float, floor: float) -> Safe | None:
    """An interval and its middle on a scale from `floor` to 1."""
    if not math.isfinite(share + low + high):
        return None
    left, middle, right = ((value - floor) / (1 - floor) for value in (low, share, high))
    band = tag("span", class_="band", style=f"left:{left:.2%};width:{right - left:.2%}")
    dot = tag("span", class_="dot", style=f"left:{middle:.2%}")
    return tag("div", band, dot, class_="scale", aria_hidden="true")
