"""HTML that is escaped by construction, and the page's way of writing numbers.

Every text that enters `tag` is escaped; only `Safe` strings, which `tag` itself returns, pass
through. So no section can forget to escape a class name, a message or a path.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NARROW = "\u202f"  # narrow no-break space: a number and its unit stay on one line
NOTHING = "\u2013"
LIST_SHOWN = 12  # a list longer than this (learning rates per step) is summarised
TEXT_SHOWN = 600  # characters of one value in a key/value table


class Safe(str):
    """Text that is already HTML."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Safe:
    """One element. `class_` becomes class, `aria_label` aria-label; None and False are left out."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in ("img", "meta", "br"):
        return Safe(f"<{name}{written}>")
    return Safe(f"<{name}{written}>{join(children)}</{name}>")


def escape(value: object) -> str:
    """The value as HTML text; control characters, which HTML forbids, become spaces."""
    if isinstance(value, Safe):
        return value
    text = "".join(c if c >= " " or c in "\n\t" else " " for c in str(value))
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"), quote=True)


def join(children: Iterable[object]) -> Safe:
    """Children one after the other, each escaped unless it is HTML; None is left out."""
    return Safe("".join(escape(child) for child in children if child is not None))


def section(name: str, title: str, note: str, *children: object) -> Safe:
    """A titled section; `note` stands under its title, in the margin."""
    head = tag("header", tag("h2", title), tag("p", note) if note else None)
    return tag("section", head, tag("div", *children, class_="body"), id=name)


def missing(text: str) -> Safe:
    """The one line of a section that has nothing to show yet."""
    return tag("p", text, class_="missing")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "") -> Safe:
    """A table whose first column names its rows; it scrolls sideways where the page is narrow."""
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows
    )
    whole = tag("table", tag("thead", top), tag("tbody", *body), class_=kind or None)
    return tag("div", whole, class_="scroll")


def pairs(rows: Iterable[tuple[object, object]]) -> Safe:
    """A definition list of names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in rows))


def branch(tree: object, *keys: str) -> dict[str, Any]:
    """The mapping found under `keys`, or an empty one where anything on the way is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return dict(tree) if isinstance(tree, Mapping) else {}


def items(value: object) -> list[Any]:
    """The value where it is a list, else an empty list."""
    return list(value) if isinstance(value, (list, tuple)) else []


def flatten(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as (dotted name, text), in their own order."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", plain(value)))
    return rows


def plain(value: object) -> str:
    """One recipe or plan value as text; a long list is told by its length and its range."""
    if value is None or value in ("", [], {}):
        return NOTHING
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, (list, tuple)):
        text = str(value)
        return text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + "\u2026"
    if len(value) <= LIST_SHOWN:
        return ", ".join(
            f"[{plain(v)}]" if isinstance(v, (list, tuple)) else plain(v) for v in value
        )
    if all(math.isfinite(number(v)) for v in value):
        low, high = min(value, key=number), max(value, key=number)
        return (
            f"{len(value):,} values: first {plain(value[0])}, last {plain(value[-1])}, "
            f"smallest {plain(low)}, largest {plain(high)}"
        )
    return f"{len(value):,} values"


def number(value: object) -> float:
    """The value as a float; NaN for anything that is not a number."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def count(value: object) -> str:
    """1234 as 1,234; a dash where there is none."""
    return f"{number(value):,.0f}" if math.isfinite(number(value)) else NOTHING


def percent(value: object, digits: int = 2) -> str:
    """0.9225 as 92.25 %; a dash where there is none."""
    share = number(value)
    return f"{100 * share:.{digits}f}{NARROW}%" if math.isfinite(share) else NOTHING


def interval(low: object, high: object, digits: int = 1) -> str:
    """0.892, 0.945 as 89.2-94.5 %; a dash where one is missing."""
    if not (math.isfinite(number(low)) and math.isfinite(number(high))):
        return NOTHING
    return f"{100 * number(low):.{digits}f}\u2013{percent(high, digits)}"


def seconds(value: object) -> str:
    """193.2 as 3 min 13 s; a dash where there is none."""
    time_s = number(value)
    if not math.isfinite(time_s):
        return NOTHING
    if time_s < 99.95:
        return f"{time_s:.1f}{NARROW}s"
    minutes, rest = divmod(round(time_s), 60)
    if minutes < 100:
        return f"{minutes}{NARROW}min {rest:02d}{NARROW}s"
    return f"{minutes // 60:,}{NARROW}h {minutes % 60:02d}{NARROW}min"


def short(sha256: object) -> Safe:
    """The first 12 hex digits of a hash; the whole one appears when the pointer rests on it."""
    if not sha256:
        return Safe(NOTHING)
    return tag("code", str(sha256)[:12], title=str(sha256))


def wilson(hits: float, total: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of `hits` out of `total`; NaN when nothing was counted."""
    if total <= 0:
        return math.nan, math.nan
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = share * (1 - share) / total + z * z / (4 * total * total)
    half = z * math.sqrt(spread) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)
