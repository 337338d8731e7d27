"""A recipe written in Python is held to its types as the command line is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pictures import CLASSES, small_recipe

from foveate.engine.catalog import find
from foveate.engine.classification import Classification
from foveate.engine.failure import RecipeError
from foveate.engine.recipe import Data, Optimizer, recipe_hash
from foveate.engine.verbs.overrides import override


def test_a_whole_number_for_a_float_is_the_same_recipe():
    python, flag = small_recipe(".", epochs=3), small_recipe(".", epochs=3.0)
    assert type(python.epochs) is float and python == flag
    assert recipe_hash(python) == recipe_hash(flag)
    faithful = find("oct2017:faithful")
    assert recipe_hash(override(faithful, ["--epochs", "2"])) == recipe_hash(faithful)
    flipped = replace(python, augment=replace(python.augment, flip=1))
    again = replace(python, augment=replace(python.augment, flip=1.0))
    assert recipe_hash(flipped) == recipe_hash(again)


def test_paths_and_lists_are_taken_for_what_they_mean():
    assert Data(root=Path("/data")).root == "/data"
    assert Data(mean=[0.5, 1, 2]).mean == (0.5, 1.0, 2.0)
    assert Classification(classes=list(CLASSES)).classes == CLASSES


WRONG = [
    (lambda: small_recipe(".", batch=16.5), "batch is 16.5; it takes a whole number"),
    (lambda: small_recipe(".", batch=True), "batch is True"),
    (lambda: small_recipe(".", precision="fp8"), "precision is 'fp8'; it is one of auto, bf16"),
    (lambda: small_recipe(".", keep="beste"), "keep is 'beste'; it is one of last, best"),
    (lambda: small_recipe(".", epochs="2"), "epochs is '2'; it takes a number"),
    (lambda: small_recipe(".", epochs=float("nan")), "epochs is nan; it takes a number"),
    (lambda: Data(split="labels"), r"data\.split is 'labels'; it is one of none, label, group"),
    (lambda: Data(channels=2), r"data\.channels is 2; it is one of 1, 3"),
    (lambda: Data(mean=0.5), r"data\.mean is 0.5; it takes several values"),
    (lambda: Data(mean=("a",)), r"data\.mean is 'a'; it takes a number"),
    (lambda: Optimizer(kind="adam"), r"optimizer\.kind is 'adam'; it is one of sgd, adamw"),
    (lambda: Optimizer(lr=float("inf")), r"optimizer\.lr is inf"),
    (lambda: Optimizer(kind="adamw", betas=(0.9,)), r"optimizer\.betas has 1 values; it takes 2"),
    (lambda: Classification(classes="ab"), r"task\.classes is 'ab'; it takes several values"),
]


@pytest.mark.parametrize(("make", "says"), WRONG, ids=[says for _, says in WRONG])
def test_a_value_of_another_type_is_one_line_with_its_field(make, says):
    with pytest.raises(RecipeError, match=says):
        make()
