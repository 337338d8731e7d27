"""Classification scores under unmistakable names, with intervals.

"Accuracy" has meant three things in print. Here `accuracy` is the share of images right,
`balanced_accuracy` the mean recall of the classes, and `one_vs_rest_accuracy` the mean over
classes of two-way accuracy, 1 - 2*errors/(K*N), which is what the 2018 OCT notebook printed.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

Z95 = 1.959963984540054


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion; (0, 1) where nothing was counted."""
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, Z95 * Z95
    centre = share + z2 / (2 * count)
    spread = Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def confusion_matrix(label: Tensor, prediction: Tensor, classes: int) -> Tensor:
    """(N,) int64, (N,) int64 -> (K,K) int64 counts; rows are the truth."""
    cells = torch.bincount(label * classes + prediction, minlength=classes * classes)
    return cells.view(classes, classes)


def score_confusion(confusion: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """(K,K) counts -> every score that a confusion matrix gives, intervals included."""
    counts = confusion.to(torch.int64)
    total, right = int(counts.sum()), int(counts.trace())
    low, high = wilson(right, total)
    support, hits = counts.sum(1), counts.diagonal()
    recalls = (hits / support)[support > 0]
    scores = {
        "images": total,
        "wrong": total - right,
        "accuracy": right / max(total, 1),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": float(recalls.double().mean()) if len(recalls) else 0.0,
        "one_vs_rest_accuracy": 1 - 2 * (total - right) / max(len(classes) * total, 1),
    }
    for k, name in enumerate(classes):
        scores |= _score_class(name, int(hits[k]), int(support[k]), int(counts[:, k].sum()))
    return scores


def _score_class(name: str, hits: int, support: int, predicted: int) -> dict[str, float]:
    low, high = wilson(hits, support)
    return {
        f"support_{name}": support,
        f"recall_{name}": hits / max(support, 1),
        f"recall_{name}_low": low,
        f"recall_{name}_high": high,
        f"precision_{name}": hits / max(predicted, 1),
    }


def area_under_curve(score: Tensor, positive: Tensor) -> float:
    """(N,) float, (N,) bool -> area under the ROC curve, ties counted half; nan with one class."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    values, place = torch.unique(score, return_inverse=True)
    size = torch.bincount(place, minlength=len(values)).double()
    rank = size.cumsum(0) - (size - 1) / 2  # mean rank of each tied value, from 1
    return float((rank[place][positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
