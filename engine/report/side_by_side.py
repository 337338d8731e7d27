"""A comparison of two runs as a page of text, 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 100
UNLIKELY = 0.05
ROWS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "area under ROC"}


def describe_comparison(answer: dict[str, Any]) -> str:
    """The page that `foveate runs show RUN OTHER` prints, of what `compare_runs` gave."""
    lines = [_headline("one", answer["one"]), _headline("other", answer["other"])]
    lines += _block("recipe", answer["recipe"], "no field differs")
    lines += _block("plan", answer["plan"], "no number differs")
    if "scores" not in answer:
        open_ends = [side for side in ("one", "other") if answer[side]["state"] != "finished"]
        return "\n".join([*lines, "", f"no scores to compare: {_join(open_ends)} not finished"])
    for split, scores in answer["scores"].items():
        lines += _block(f"{split} images", _describe_scores(scores), "")
    if not answer["scores"]:
        lines += ["", "no split was scored in both runs"]
    lines += _block("speed", _describe_speed(answer), "")
    lines += _block("weights", [_describe_weights(answer)], "")
    lines += _block("machine and packages", answer["identity"], "nothing differs")
    return "\n".join(lines)


def _headline(name: str, side: dict[str, Any]) -> str:
    where = f"{side['state']} after step {side['step']} of {side['steps']}"
    return f"{name:6} {side['run']}  {side['recipe']}  {side['hash']}  {where}"


def _join(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'}"


def _block(title: str, lines: Sequence[str], empty: str) -> list[str]:
    """A title, its lines two spaces in and wrapped; `empty` where there are none."""
    shown = []
    for line in lines or [empty]:
        if line.startswith("|"):  # a row of a table keeps its columns
            shown.append(f"  {line[1:]}")
        else:
            shown += textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="      ")
    return ["", title, *shown]


def _row(name: str, one: str, other: str) -> str:
    return f"|{name:20}{one:>28}{other:>28}"


def _describe_scores(scores: dict[str, Any]) -> list[str]:
    one, other = scores["one"], scores["other"]
    lines = [_row("", "one", "other")]
    for name, title in ROWS.items():
        if name in one and name in other:
            lines.append(_row(title, *(_share(side, name) for side in (one, other))))
    if "wrong" in one and "wrong" in other:
        wrong = (f"{side['wrong']:.0f} of {side['images']:.0f}" for side in (one, other))
        lines.append(_row("wrong", *wrong))
    return [*lines, _say_paired(scores["paired"]) if "paired" in scores else _say_unpaired(scores)]


def _share(scores: dict[str, float], name: str) -> str:
    if name == "auc":
        return f"{scores[name]:.4f}"
    text = f"{scores[name]:.2%}"
    if f"{name}_low" in scores:
        text += f" ({scores[f'{name}_low']:.1%} to {scores[f'{name}_high']:.1%})"
    return text


def _say_paired(found: dict[str, Any]) -> str:
    """One sentence on McNemar's test."""
    unlikely = found["p"] < UNLIKELY
    return (
        f"paired, {found['images']} images: {found['n10']} right in one alone, {found['n01']} in "
        f"other alone, difference {100 * found['difference']:+.2f} points; McNemar's exact test "
        f"p = {found['p']:.2g}: {'more than' if unlikely else 'no more than'} chance would give"
    )


def _say_unpaired(scores: dict[str, Any]) -> str:
    """One sentence on the difference of two proportions."""
    found = scores["unpaired"]
    if "difference" not in found:
        return f"not paired, because {found['why']}"
    low, high = found["low"], found["high"]
    inside = low <= 0 <= high
    return (
        f"not paired, because {found['why']}: difference {100 * found['difference']:+.2f} points "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f}), "
        f"{'which holds 0' if inside else 'which leaves 0 out'}"
    )


def _describe_speed(answer: dict[str, Any]) -> list[str]:
    rate = answer["images_per_s"]
    lines = [_row("", "one", "other")]
    lines.append(_row("images/s", f"{rate['one']:.1f}", f"{rate['other']:.1f}"))
    for name, time in answer["time"].items():
        shown = (
            "" if value is None else f"{value:.1f} s" for value in (time["one"], time["other"])
        )
        lines.append(_row(name.removesuffix("_s"), *shown))
    if min(rate.values()) > 0:
        times = f"other trains {rate['other'] / rate['one']:.3g} times as fast as one"
        lines.append(f"{times}: one reading each, beside whatever else the machines did")
    return lines


def _describe_weights(answer: dict[str, Any]) -> str:
    weights = answer["weights"]
    if weights["equal"]:
        return f"bit-equal: {weights['one']}"
    data = "the same data" if answer["same_data"] else "different data"
    return f"differ: {weights['one'][:16]} and {weights['other'][:16]}, trained on {data}"
