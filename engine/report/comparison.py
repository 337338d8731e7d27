"""Two runs held against each other: what differs, and whether their scores do.

Scores of runs on the same images are paired: only images that one run gets right and the other
wrong say anything, and McNemar's exact test asks whether they fall evenly. Other scores are
compared by their intervals alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from ...dataloaders.errors import StorageError
from ..recipe import differences
from ..run.folder import describe_run, read_json
from ..run.receipt import Receipt, read_receipt
from ..scores import wilson

FORMAT = 1
SPLITS = ("val", "test")
PROSE = ("claim", "name", "command", "hash", "identity", "format")
"""Fields of recipe.json that decide nothing about the run; `identity` repeats the others."""
PASSING = ("load", "memory_gb")
"""Facts about a machine that are never twice the same."""


@dataclass(frozen=True)
class Side:
    """One of the two runs, with what its folder holds."""

    folder: Path
    recipe: dict[str, Any]
    plan: dict[str, Any]
    receipt: Receipt | None

    @property
    def facts(self) -> dict[str, Any]:
        """Which run this is, in the words of `foveate runs ls`."""
        run = describe_run(self.folder)
        return {
            "run": str(self.folder),
            "recipe": run.recipe,
            "hash": self.recipe.get("hash", ""),
            "state": run.state,
            "step": run.step,
            "steps": run.steps,
        }


def compare_runs(one: Path, other: Path) -> dict[str, Any]:
    """Everything in which two run folders differ, as plain values (`foveate runs show A B --json`).

    Runs that are not finished are compared by recipe and plan alone. Raises StorageError where a
    file of a run is damaged.
    """
    left, right = open_side(one), open_side(other)
    answer: dict[str, Any] = {
        "format": FORMAT,
        "one": left.facts,
        "other": right.facts,
        "recipe": differences(_decisions(left.recipe), _decisions(right.recipe)),
        "plan": differences(_numbers(left.plan), _numbers(right.plan)),
    }
    if left.receipt and right.receipt:
        answer |= compare_receipts(left.receipt, right.receipt)
        answer["scores"] = {
            split: compare_split(left, right, split)
            for split in SPLITS
            if split in left.receipt.scores and split in right.receipt.scores
        }
    return answer


def open_side(folder: Path) -> Side:
    """Read one run folder. Raises StorageError where a file in it is damaged."""
    recipe, plan = (read_json(folder / f"{name}.json") or {} for name in ("recipe", "plan"))
    return Side(folder, recipe, plan, read_receipt(folder))


def _decisions(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in PROSE}


def _numbers(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with its row per step cut down to first, highest and last."""
    plan = {name: value for name, value in plan.items() if name not in ("recipe_hash", "format")}
    if plan.get("lr"):
        lr = plan["lr"]
        plan["lr"] = {"first": lr[0], "highest": max(lr), "last": lr[-1]}
    for name in ("evals", "saves"):
        if name in plan:
            plan[name] = f"{len(plan[name])} times"
    return plan


def compare_receipts(one: Receipt, other: Receipt) -> dict[str, Any]:
    """Weights, data, speed, times and machines of two finished runs."""
    return {
        "weights": {
            "equal": one.weights_sha256 == other.weights_sha256,
            "one": one.weights_sha256,
            "other": other.weights_sha256,
        },
        "scored_weights_equal": one.scored_sha256 == other.scored_sha256,
        "same_data": _same_data(one, other),
        "images_per_s": {"one": one.images_per_s, "other": other.images_per_s},
        "time": {
            name: {"one": one.time.get(name), "other": other.time.get(name)}
            for name in dict.fromkeys((*one.time, *other.time))
        },
        "identity": differences(_machine(one), _machine(other)),
    }


def _machine(receipt: Receipt) -> dict[str, Any]:
    return {name: value for name, value in receipt.identity.items() if name not in PASSING}


def _same_data(one: Receipt, other: Receipt) -> bool:
    sums = [side.data.get("manifest_sha256") for side in (one, other)]
    return sums[0] is not None and sums[0] == sums[1]


def compare_split(left: Side, right: Side, split: str) -> dict[str, Any]:
    """Scores of one split side by side, and a paired or unpaired comparison of the accuracies."""
    assert left.receipt and right.receipt
    one, other = left.receipt.scores[split], right.receipt.scores[split]
    answer: dict[str, Any] = {"one": one, "other": other}
    if not _same_data(left.receipt, right.receipt):
        return answer | {"unpaired": unpaired(one, other, "they were scored on different data")}
    try:
        return answer | {"paired": paired(left.folder, right.folder, split)}
    except StorageError as error:
        return answer | {"unpaired": unpaired(one, other, str(error))}


def paired(one: Path, other: Path, split: str) -> dict[str, Any]:
    """McNemar's exact test on the rows that two runs left for the same images.

    `n10` images only the first gets right, `n01` only the second; `p` is two-sided. Raises
    StorageError, with the reason, where the rows cannot be paired.
    """
    rows = [
        _read_rows(folder / "evidence" / f"rows-{split}.safetensors") for folder in (one, other)
    ]
    for name in ("index", "label"):
        left, right = rows[0][name], rows[1][name]
        if left.shape != right.shape or not bool((left == right).all()):
            what = "images were held out" if name == "index" else "labels were used"
            raise StorageError(f"different {what}")
    right_of = [row["logits"].argmax(1) == row["label"] for row in rows]
    n10 = int((right_of[0] & ~right_of[1]).sum())
    n01 = int((~right_of[0] & right_of[1]).sum())
    images = len(right_of[0])
    return {
        "images": images,
        "n10": n10,
        "n01": n01,
        "p": mcnemar(n10, n01),
        "difference": (n01 - n10) / max(images, 1),
    }


def _read_rows(path: Path) -> dict[str, Any]:
    import safetensors.torch

    if not path.exists():
        raise StorageError(f"{path} is not there")
    try:
        rows = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{path} cannot be read ({error})") from None
    if not {"index", "label", "logits"} <= rows.keys():
        raise StorageError(f"{path} holds no answers of a classifier")
    return rows


def mcnemar(n10: int, n01: int) -> float:
    """Exact two-sided p of McNemar's test: the two counts as flips of a fair coin, 1 where 0, 0.

    Source: McNemar, Psychometrika 12 (1947); the exact form is the binomial test of p = 1/2.
    """
    flips, fewer = n10 + n01, min(n10, n01)
    term = total = 1
    for k in range(fewer):
        term = term * (flips - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**flips)


def unpaired(one: dict[str, float], other: dict[str, float], why: str) -> dict[str, Any]:
    """The difference of two accuracies, other minus one, with a 95 % interval, and why no pairs.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10).
    """
    (p, p_low, p_high), (q, q_low, q_high) = map(_proportion, (one, other))
    if not all(map(isfinite, (p, q))):
        return {"why": why}
    difference = q - p
    return {
        "why": why,
        "difference": difference,
        "low": difference - sqrt((q - q_low) ** 2 + (p_high - p) ** 2),
        "high": difference + sqrt((q_high - q) ** 2 + (p - p_low) ** 2),
    }


def _proportion(scores: dict[str, float]) -> tuple[float, float, float]:
    """(accuracy, low, high) by Wilson; nan where the scores hold no counts."""
    if "images" not in scores or "wrong" not in scores:
        return float("nan"), float("nan"), float("nan")
    images = int(scores["images"])
    right = images - int(scores["wrong"])
    return right / max(images, 1), *wilson(right, images)
