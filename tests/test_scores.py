"""Scores say what they are, and agree with the numbers printed in 2018."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from foveate.engine.scores import area_under_curve, confusion_matrix, score_confusion, wilson

CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
HELD_OUT = [[7168, 39, 209, 25], [44, 2136, 9, 81], [83, 6, 1554, 80], [3, 19, 32, 5209]]
OFFICIAL = [[250, 0, 0, 0], [1, 249, 0, 0], [2, 0, 248, 0], [0, 0, 0, 250]]


@pytest.mark.parametrize(
    ("confusion", "images", "wrong", "accuracy", "one_vs_rest"),
    [(HELD_OUT, 16_697, 630, 0.96227, 0.98113), (OFFICIAL, 1_000, 3, 0.997, 0.9985)],
    ids=["held out", "official test"],
)
def test_the_matrices_of_2018_give_plain_and_one_vs_rest_accuracy(
    confusion, images, wrong, accuracy, one_vs_rest
):
    scores = score_confusion(torch.tensor(confusion), CLASSES)
    assert (scores["images"], scores["wrong"]) == (images, wrong)
    assert scores["accuracy"] == pytest.approx(accuracy, abs=5e-6)
    assert scores["one_vs_rest_accuracy"] == pytest.approx(one_vs_rest, abs=5e-6)
    recalls = [row[k] / sum(row) for k, row in enumerate(confusion)]
    assert scores["balanced_accuracy"] == pytest.approx(sum(recalls) / 4)
    assert scores["recall_DME"] == pytest.approx(recalls[1])


def test_one_vs_rest_accuracy_is_the_mean_over_classes_of_two_way_accuracy():
    counts = torch.tensor(HELD_OUT)
    total = counts.sum()
    each = [1 - (counts[k].sum() + counts[:, k].sum() - 2 * counts[k, k]) / total for k in range(4)]
    scores = score_confusion(counts, CLASSES)
    assert scores["one_vs_rest_accuracy"] == pytest.approx(float(sum(each)) / 4, abs=1e-6)


def test_the_wilson_interval_of_3_wrong_in_1000_is_the_published_one():
    low, high = wilson(997, 1000)
    assert (1 - high, 1 - low) == pytest.approx((0.00102, 0.00878), abs=2e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(5, 5)[1] == 1.0 and wilson(0, 5)[0] == 0.0


def test_scores_agree_with_scikit_learn():
    noise = np.random.default_rng(0)
    label, chance = noise.integers(0, 3, 200), noise.random((200, 3)).round(1)  # with ties
    guess = chance.argmax(1)
    scores = score_confusion(
        confusion_matrix(torch.tensor(label), torch.tensor(guess), 3), ("a", "b", "c")
    )
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, guess))
    for k in range(3):
        ours = area_under_curve(torch.tensor(chance[:, k]), torch.tensor(label == k))
        assert ours == pytest.approx(roc_auc_score(label == k, chance[:, k]))


def test_a_class_without_images_neither_divides_by_zero_nor_enters_the_balance():
    scores = score_confusion(torch.tensor([[3, 1], [0, 0]]), ("here", "absent"))
    assert scores["balanced_accuracy"] == 0.75
    assert scores["recall_absent"] == 0.0 and scores["recall_absent_high"] == 1.0
    assert math.isnan(area_under_curve(torch.rand(4), torch.ones(4, dtype=torch.bool)))
