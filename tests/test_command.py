"""The command in the report makes the run again."""

from __future__ import annotations

import pytest
from pictures import small_recipe

from foveate.engine.catalog import find
from foveate.engine.recipe import recipe_hash
from foveate.engine.run.command import command_of
from foveate.engine.verbs.overrides import override

WORDS = [
    ["--optimizer.lr", "0.2", "--data.root", "/data/OCT 2017"],
    ["--schedule.sizes", "96", "224", "--schedule.shares", "0.5", "0.5", "--data.shuffle-labels"],
    ["--optimizer.no-nesterov", "--optimizer.decay-norm-and-bias", "--norm-group", "64"],
    [],
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("name", ["oct2017", "oct2017:quickstart"])
def test_the_command_gives_the_same_recipe(name, words):
    if name.endswith("quickstart") and "--optimizer.no-nesterov" in words:
        words = ["--optimizer.betas", "0.8", "0.9"]
    recipe = override(find(name), words)
    said = command_of(recipe)
    assert said[:3] == ["foveate", "train", name]
    again = override(find(said[2]), said[3:])
    assert again == recipe and recipe_hash(again) == recipe_hash(recipe)


def test_a_recipe_of_ones_own_is_named_by_its_file():
    assert command_of(small_recipe(".")) == ["foveate", "train", "small.py"]
