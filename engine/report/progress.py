"""How the run went: curves over steps, throughput over time, and where the seconds went."""

import math
from collections.abc import Sequence
from typing import Any

from .figures import Mark, curve
from .folder import Run
from .markup import (
    NARROW,
    Safe,
    branch,
    items,
    missing,
    number,
    percent,
    seconds,
    section,
    tag,
)

BREAKS = ("resumed", "stopped")
STAGES = (("data_s", "data"), ("pack_s", "pack"), ("train_s", "train"), ("eval_s", "evaluate"))


def curves(run: Run) -> Safe:
    """Loss, learning rate, gradient norm and validation accuracy over steps."""
    steps, evals = run.rows("step"), run.rows("eval")
    if not steps:
        return section("curves", "Curves", "", missing("No training step has been logged yet."))
    x = column(steps, "step")
    reach = max((step for step in x if math.isfinite(step)), default=0.0)
    style = {"marks": step_marks(run), "span": (-0.02 * reach, 1.03 * reach)}
    panels = [
        panel("Loss", x, column(steps, "loss"), **style, noisy=True),
        panel("Learning rate", x, column(steps, "lr"), **style, zero=True),
        panel("Gradient norm", x, column(steps, "grad_norm"), **style, noisy=True, zero=True),
    ]
    name = followed(evals)
    if name:
        rows = [row for row in evals if row.get("split", "val") == evals[0].get("split", "val")]
        factor, unit = (100, "%") if name == "accuracy" else (1, None)
        values = [factor * number(branch(row, "scores").get(name)) for row in rows]
        at = [number(row.get("step")) for row in rows]
        title = f"{rows[0].get('split', 'val')} {name}".replace("val ", "Validation ")
        panels.append(panel(title, at, values, **style, points=True, unit=unit))
    else:
        panels.append(missing("No evaluation yet."))
    note = "Over optimizer steps. Faint: each reading; strong: a running median."
    return section("curves", "Curves", note, tag("div", *panels, class_="grid"))


def followed(evals: Sequence[dict[str, Any]]) -> str:
    """The score worth a curve: accuracy, or else the first one there is."""
    names = list(branch(evals[0], "scores")) if evals else []
    return "accuracy" if "accuracy" in names else str(names[0]) if names else ""


def column(rows: Sequence[dict[str, Any]], key: str) -> list[float]:
    """One metric of all rows; NaN where a row lacks it."""
    return [number(row.get(key)) for row in rows]


def panel(title: str, x: Sequence[float], y: Sequence[float], **style: Any) -> Safe:
    """A small plot under its name and its last value."""
    known = [value for value in y if math.isfinite(value)]
    last = f"{known[-1]:,.4g}" if known else None
    unit = style.pop("unit", None)
    if unit and known:
        last = f"{last}{NARROW}{unit}"
    caption = tag("figcaption", title, tag("span", "last ", tag("b", last)) if last else None)
    if not known:
        return tag("figure", caption, missing("Not measured."))
    return tag("figure", caption, Safe(curve(title, x, y, **style)), class_="plot")


def step_marks(run: Run) -> list[Mark]:
    """Resumes, stops and changes of image size, by step."""
    events = [
        (number(row.get("step")), str(row.get("event")))
        for row in run.rows("event")
        if row.get("event") in BREAKS and math.isfinite(number(row.get("step")))
    ]
    marks = breaks(events)
    for change in items(run.plan.get("resolutions"))[1:]:
        step, side = (*items(change), None, None)[:2]
        if math.isfinite(number(step) + number(side)):
            marks.append(Mark(number(step), "size", f"{side:g} px"))
    return marks


def breaks(events: Sequence[tuple[float, str]]) -> list[Mark]:
    """Stops and resumes as marks; those of one moment share a mark."""
    together: dict[float, list[str]] = {}
    for at, event in events:
        together.setdefault(at, []).append(event)
    return [Mark(at, names[-1], ", ".join(dict.fromkeys(names))) for at, names in together.items()]


def throughput(run: Run) -> Safe:
    """Images/s, data wait, MFU and memory over time, with evaluations and saves."""
    steps = run.rows("step")
    where = stages(run)
    if not steps:
        none = missing("No throughput has been measured yet.")
        return section("throughput", "Throughput", "", where, none)
    unit, span_s = time_unit(max(row["clock_s"] for row in run.metrics))
    x = [row["clock_s"] / span_s for row in steps]
    marks = time_marks(run, span_s)
    plots = [
        panel(title, x, [factor * value for value in column(steps, key)], marks=marks,
              xlabel=unit, zero=True, noisy=True, unit=written)
        for title, key, factor, written in (
            ("Images per second", "images_per_s", 1, None),
            ("Waiting for data", "wait", 100, "%"),
            ("Model FLOPs utilisation", "mfu", 100, "%"),
            ("Memory", "memory_mb", 1, "MB"),
        )
    ]  # fmt: skip
    legend = tag(
        "p",
        tag("span", "evaluation", class_="key second"),
        tag("span", "checkpoint saved", class_="key muted"),
        class_="legend",
    )
    note = "Over wall time. Ticks on the axis: evaluations and saves."
    return section(
        "throughput", "Throughput", note, where, tag("div", *plots, class_="grid"), legend
    )


def time_unit(total_s: float) -> tuple[str, float]:
    """The unit an axis of this length reads best in, and its seconds."""
    for unit, span_s in (("hours", 3600.0), ("minutes", 60.0)):
        if total_s >= 3 * span_s:
            return unit, span_s
    return "seconds", 1.0


def time_marks(run: Run, span_s: float) -> list[Mark]:
    """Evaluations, saves, resumes and stops, by time."""
    marks = [Mark(row["clock_s"] / span_s, "evaluation") for row in run.rows("eval")]
    events = [(row["clock_s"] / span_s, str(row.get("event"))) for row in run.rows("event")]
    marks += [Mark(at, event) for at, event in events if event == "saved"]
    return marks + breaks([(at, event) for at, event in events if event in BREAKS])


def stages(run: Run) -> Safe | None:
    """One bar for the whole run, divided by what the seconds went into."""
    time = branch(run.receipt, "time")
    spent = [(label, number(time.get(key))) for key, label in STAGES]
    spent = [(label, time_s) for label, time_s in spent if time_s > 0]
    total_s = sum(time_s for _, time_s in spent)
    rest_s = number(time.get("total_s")) - total_s
    if rest_s > 0.005 * total_s:
        spent, total_s = [*spent, ("other", rest_s)], total_s + rest_s
    if not spent:
        return None
    bar = [
        tag("span", class_=f"stage {label}", style=f"flex-grow:{time_s / total_s:.4f}")
        for label, time_s in spent
    ]
    keys = [
        tag("span", f"{label} ", tag("b", seconds(time_s)), f" {percent(time_s / total_s, 0)}",
            class_=f"key {label}")
        for label, time_s in spent
    ]  # fmt: skip
    caption = tag("figcaption", "Where the time went", tag("span", tag("b", seconds(total_s))))
    bars = tag("div", *bar, class_="stages", aria_hidden="true")
    return tag("figure", caption, bars, tag("p", *keys, class_="legend"))
