"""A recipe is frozen, hashes what matters, and comes back from its file."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from pictures import small_recipe

from foveate.engine.catalog import find, shipped, variants
from foveate.engine.classification import Classification
from foveate.engine.failure import RecipeError
from foveate.engine.recipe import (
    Claim,
    Optimizer,
    differences,
    from_dict,
    identity,
    recipe_hash,
    to_dict,
)
from foveate.engine.verbs.overrides import override

ALL = {
    f"{name}:{variant}": recipe
    for name, path in shipped().items()
    for variant, recipe in variants(path).items()
}


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL.keys())
def test_every_recipe_comes_back_from_json(recipe):
    again = from_dict(json.loads(json.dumps(to_dict(recipe))), type(recipe.task))
    assert again == recipe
    assert recipe_hash(again) == recipe_hash(recipe)


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL.keys())
def test_every_recipe_states_its_claim(recipe):
    assert recipe.claim.text


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        find("oct2017").batch = 3


def test_the_hash_ignores_places_and_prose_and_nothing_else():
    recipe = small_recipe("/one")
    moved = replace(recipe, data=replace(recipe.data, root="/other"), claim=Claim(text="x"))
    assert recipe_hash(moved) == recipe_hash(replace(moved, name="renamed")) == recipe_hash(recipe)
    changed = [
        replace(recipe, seed=1),
        replace(recipe, batch=4),
        replace(recipe, optimizer=replace(recipe.optimizer, lr=0.3)),
        replace(recipe, augment=replace(recipe.augment, flip=0.0)),
        replace(recipe, data=replace(recipe.data, holdout=0.5)),
        replace(recipe, task=replace(recipe.task, label_smoothing=0.1)),
        replace(recipe, precision="fp64"),
    ]
    assert len({recipe_hash(r) for r in [recipe, *changed]}) == len(changed) + 1


def test_the_hash_of_pretrained_weights_is_of_their_content(tmp_path):
    paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for path, value in zip(paths, (1.0, 1.0, 2.0), strict=True):
        torch.save({"weight": torch.tensor(value)}, path)
    data = [path.read_bytes() for path in paths]
    paths[1].write_bytes(data[0])
    same, moved, other = (
        recipe_hash(small_recipe(".", task=Classification(classes=("a", "b"), weights=str(path))))
        for path in paths
    )
    assert same == moved != other


def test_a_setting_that_the_optimizer_does_not_use_is_an_error():
    with pytest.raises(RecipeError, match=r"optimizer\.betas is set, but sgd does not use it"):
        Optimizer(kind="sgd", betas=(0.8, 0.9))
    with pytest.raises(RecipeError, match=r"optimizer\.nesterov"):
        Optimizer(kind="adamw", nesterov=True)


@pytest.mark.parametrize("change", [{"batch": 0}, {"epochs": -1}, {"ema": 1.0}, {"size": 0}])
def test_impossible_numbers_are_refused(change):
    with pytest.raises(RecipeError, match=next(iter(change))):
        small_recipe(".", **change)


def test_a_newer_format_is_refused():
    with pytest.raises(RecipeError, match="upgrade"):
        from_dict(to_dict(find("oct2017")) | {"format": 99}, Classification)


def test_differences_name_the_fields():
    one, other = find("oct2017"), find("oct2017:leakfree")
    assert differences(identity(one), identity(other)) == ["data.split: label -> group"]


IMPOSSIBLE = [
    ("--norm-group -8", "norm_group is -8"),
    ("--optimizer.lr -1", r"optimizer\.lr is -1"),
    ("--optimizer.momentum 7", r"optimizer\.momentum is 7"),
    ("--optimizer.clip -1", r"optimizer\.clip"),
    ("--optimizer.momentum 0", "nesterov needs momentum"),
    ("--optimizer.kind adamw", "adamw does not use it; put it back to"),
    ("--schedule.warmup 3", r"schedule\.warmup is 3"),
    ("--schedule.milestones 2 4", "onecycle does not use it"),
    ("--data.std 0", r"data\.std is \(0\.0,\)"),
    ("--data.holdout 1", r"data\.holdout is 1"),
    ("--data.group (", "no regular expression"),
    ("--data.group abc", "no parenthesis"),
    ("--data.twin.train -5", r"data\.twin\.train is -5"),
    ("--epochs inf", "epochs is 'inf'"),
    ("--seed -1", "seed is -1"),
    ("--task.classes CNV", r"task\.classes needs two"),
    ("--task.classes CNV CNV", "names a class twice"),
    ("--task.label-smoothing 2", r"task\.label_smoothing is 2"),
]


@pytest.mark.parametrize(("words", "says"), IMPOSSIBLE, ids=[words for words, _ in IMPOSSIBLE])
def test_a_value_that_cannot_work_is_refused_with_its_field(words, says):
    with pytest.raises(RecipeError, match=says):
        override(find("oct2017"), words.split())
