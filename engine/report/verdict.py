"""The head of the page: what came out, how sure that is, and what the recipe claims."""

import math
from typing import Any

from .folder import Run
from .markup import (
    NARROW,
    NOTHING,
    Safe,
    branch,
    count,
    interval,
    items,
    join,
    missing,
    number,
    pairs,
    percent,
    seconds,
    section,
    short,
    tag,
    wilson,
)


def headline(run: Run) -> Safe:
    """Title, verdict and the figures one quotes."""
    split, scores = judged(run)
    return tag(
        "header",
        tag("p", "foveate \u00b7 run report", class_="eyebrow"),
        tag("h1", run.name),
        failed(run) if run.failure else None,
        tag("p", lede(run), class_="lede"),
        tag("div", figure(split, scores) if scores else None, facts(run), class_="hero"),
        class_="top",
    )


def judged(run: Run) -> tuple[str, dict[str, Any]]:
    """The split the verdict is about, test before val before any other, and its scores."""
    splits = branch(run.receipt, "scores")
    for split in ("test", "val", *splits):
        if branch(splits, split):
            return split, branch(splits, split)
    return "", {}


def accuracy(scores: dict[str, Any]) -> tuple[float, float, float]:
    """Accuracy and its 95 % interval; what the receipt lacks is computed from its counts."""
    images, wrong = number(scores.get("images")), number(scores.get("wrong"))
    share = number(scores.get("accuracy"))
    low, high = number(scores.get("accuracy_low")), number(scores.get("accuracy_high"))
    if images > 0 and math.isfinite(wrong):
        share = share if math.isfinite(share) else 1 - wrong / images
        if not math.isfinite(low + high):
            low, high = wilson(images - wrong, images)
    return share, low, high


def figure(split: str, scores: dict[str, Any]) -> Safe | None:
    """The accuracy in large type, its interval on a scale, and the count behind it."""
    share, low, high = accuracy(scores)
    if not math.isfinite(share):
        return None
    wrong, images = count(scores.get("wrong")), count(scores.get("images"))
    digits = 2 if number(scores.get("images")) >= 200 else 1  # no digit the count cannot carry
    value = tag("p", f"{100 * share:.{digits}f}", tag("small", f"{NARROW}%"), class_="score")
    return tag(
        "div",
        tag("p", f"{split.capitalize()} accuracy", class_="label"),
        value,
        scale(share, low, high) if math.isfinite(low + high) else None,
        tag("p", f"{wrong} wrong of {images} images", class_="tested"),
        tag("p", f"95{NARROW}% interval {interval(low, high)}", class_="tested"),
        class_="figure",
    )


def scale(share: float, low: float, high: float) -> Safe:
    """An interval and its middle on a line from 0 to 1."""
    band = tag("span", class_="band", style=f"left:{low:.2%};width:{high - low:.2%}")
    dot = tag("span", class_="dot", style=f"left:{share:.2%}")
    ends = tag("span", tag("i", percent(0, 0)), tag("i", percent(1, 0)), class_="axis")
    return tag("div", tag("div", band, dot, class_="scale"), ends, aria_hidden="true")


def facts(run: Run) -> Safe:
    """The six facts a reader copies: times, speed, steps, recipe hash, weights."""
    time_s = branch(run.receipt, "time").get("train_s")
    images_per_s = number(run.receipt.get("images_per_s"))
    rate = f"{images_per_s:,.1f}" if math.isfinite(images_per_s) else NOTHING
    done = max((number(row.get("step")) for row in run.rows("step")), default=math.nan)
    steps = f"{count(done)} of {count(run.plan.get('steps'))}"
    return pairs(
        (
            ("Training time", seconds(time_s if time_s is not None else trained_s(run))),
            ("Images per second", rate),
            ("Steps", steps),
            ("From start to end", seconds(branch(run.receipt, "time").get("total_s"))),
            ("Recipe hash", short(run.recipe_hash)),
            (f"Scored weights{scored_name(run)}", short(run.receipt.get("scored_sha256"))),
        )
    )


def trained_s(run: Run) -> float:
    """Seconds on the clock of the metrics, for a run that has no receipt."""
    return max((row["clock_s"] for row in run.metrics), default=math.nan)


def lede(run: Run) -> str:
    """The verdict in one line; without a receipt, how far the run came."""
    if run.receipt.get("verdict"):
        return str(run.receipt["verdict"])
    if run.receipt:
        return "The run finished; its receipt carries no verdict."
    steps = run.rows("step")
    if not steps:
        return "Nothing has been trained yet."
    reached = f"step {count(steps[-1].get('step'))} of {count(run.plan.get('steps'))}"
    state = "The run failed after" if run.failure else "No receipt yet: the run has reached"
    last = branch(run.rows("eval")[-1], "scores").get("accuracy") if run.rows("eval") else None
    return f"{state} {reached}" + (
        f"; last evaluation: accuracy {percent(last)}." if last is not None else "."
    )


def failed(run: Run) -> Safe:
    """Why the run ended early."""
    kind, code = run.failure.get("kind", "unknown"), run.failure.get("exit_code", NOTHING)
    step = run.failure.get("step")
    where = f" at step {count(step)}" if step is not None else ""
    title = tag("strong", f"Failed: {kind} (exit code {code}){where}")
    return tag("div", title, tag("p", run.failure.get("message", "")), class_="alert", role="alert")


def claim(run: Run) -> Safe:
    """What the recipe claims, and what its author knows to be wrong with the claim."""
    stated = branch(run.recipe, "claim")
    flaws = items(stated.get("flaws"))
    if not stated.get("text") and not flaws:
        return section("claim", "Claim", "", missing("The recipe states no claim yet."))
    listed = (tag("h3", "Known flaws"), tag("ul", *(tag("li", flaw) for flaw in flaws)))
    text = tag("p", stated.get("text"), class_="prose") if stated.get("text") else None
    note = "What the recipe sets out to show."
    return section("claim", "Claim", note, text, join(listed) if flaws else None)


def scored_name(run: Run) -> str:
    """Which weights the scores belong to: the last, their moving average, or the best."""
    name = run.receipt.get("scored")
    return f" ({name})" if name else ""
