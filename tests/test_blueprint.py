"""A model that is a function of a recipe file: hashed by its source, and found again or refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pictures import CLASSES, small_recipe, write_pictures
from torch import nn

from foveate.engine import catalog
from foveate.engine.classification import Classification
from foveate.engine.failure import RecipeError
from foveate.engine.fit import fit
from foveate.engine.models import blueprint
from foveate.engine.models.blueprint import Blueprint, hash_source, recall
from foveate.engine.models.library import build_classifier
from foveate.engine.planning import check_model
from foveate.engine.recipe import from_dict, recipe_hash, to_dict
from foveate.engine.run.command import command_of
from foveate.engine.run.console import Logged
from foveate.engine.scoring import predict_files, score_run
from foveate.engine.trainer import Trainer
from foveate.engine.verbs.overrides import override

NET = '''"""A recipe with a net of its own."""
from torch import nn
from foveate.engine.classification import Classification
from foveate.engine.recipe import Claim, Data, Recipe

WIDTH = 6
OTHER = 1


def block(channels):
    return [nn.Conv2d(channels, WIDTH, 3, stride=2), nn.ReLU(), nn.Dropout(0.3)]


def net(classes: int, channels: int) -> nn.Module:
    pool = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * WIDTH, classes)]
    return nn.Sequential(*block(channels), *pool)


recipe = Recipe(
    name="own", data=Data(), task=Classification(classes=("flat", "steep"), model=net),
    claim=Claim(text="none"),
)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with own.py in it, in a process that has built nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blueprint, "SEEN", {})
    Path("own.py").write_text(NET)
    return tmp_path


def own_recipe(root: Path):
    """The small recipe with own.py's net in it."""
    recipe = small_recipe(root)
    return replace(recipe, task=replace(recipe.task, model=catalog.find("own.py").task.model))


def test_a_function_is_held_by_name_and_hash(here):
    recipe = catalog.find("own.py")
    assert recipe.task.model == "own:net" and recipe == catalog.find("own.py")
    facts = json.loads(json.dumps(to_dict(recipe)))["task"]
    assert facts["model"] == "own:net" and len(facts["model_sha256"]) == 64
    assert str(here) not in json.dumps(to_dict(recipe))


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("Dropout(0.3)", "Dropout(0.4)", True),
        ("WIDTH = 6", "WIDTH = 8", True),
        ("from torch import nn", "import torch.nn as nn", True),
        ("AdaptiveAvgPool2d(4)", "AdaptiveMaxPool2d(4)", True),
        ("OTHER = 1", "OTHER = 2", False),
        ("(text=", "(licence='x', text=", False),
        ("WIDTH = 6", "WIDTH = 6  ", False),
    ],
)
def test_the_hash_is_of_the_source_and_of_what_it_uses(here, old, new, changes):
    task = catalog.find("own.py").task
    before = recipe_hash(catalog.find("own.py"))
    assert old in NET
    Path("own.py").write_text(NET.replace(old, new))
    assert (recipe_hash(catalog.find("own.py")) != before) == changes
    assert (catalog.find("own.py").task != task) == changes
    assert (hash_source(NET.replace(old, new), "net") != hash_source(NET, "net")) == changes


def test_another_process_finds_it_by_the_file_in_the_current_folder(here):
    facts = json.loads(json.dumps(to_dict(catalog.find("own.py"))))
    blueprint.SEEN.clear()
    again = from_dict(facts, Classification)
    assert isinstance(again.task.model, Blueprint) and again == catalog.find("own.py")
    assert again.task.build(1)(torch.zeros(2, 1, 32, 32)).shape == (2, 2)


def test_the_package_is_searched_by_the_name_of_its_recipe(here):
    facts = to_dict(catalog.find("chest_xray"))
    blueprint.SEEN.clear()
    assert from_dict(facts, Classification) == catalog.find("chest_xray")


def test_a_changed_source_is_refused_before_anything_of_it_runs(here):
    facts = to_dict(catalog.find("own.py"))
    blueprint.SEEN.clear()
    Path("own.py").write_text(NET.replace("0.3", "0.5") + "\nraise SystemExit('it ran')\n")
    with pytest.raises(RecipeError, match=r"own:net is not what .* its source in own.py changed"):
        from_dict(facts, Classification)


def test_a_missing_file_is_named(here):
    facts = to_dict(catalog.find("own.py"))
    blueprint.SEEN.clear()
    Path("own.py").unlink()
    with pytest.raises(RecipeError, match=r"needs the model own:net; go to the folder where own"):
        from_dict(facts, Classification)


@pytest.mark.parametrize("name", ["../own:net", "/tmp/own:net", "sub/own:net", "own:gone", ":net"])
def test_a_run_folder_cannot_point_at_code_elsewhere(here, name):
    (here / "sub").mkdir()
    (here / "sub" / "own.py").write_text(NET)
    with pytest.raises(RecipeError):
        recall(name, hash_source(NET, "net"))


@pytest.mark.parametrize("wrong", [lambda classes, channels: nn.ReLU(), nn.Sequential(), 3])
def test_what_is_no_function_of_a_file_is_refused(wrong):
    with pytest.raises(RecipeError, match="give a function at the top of a file"):
        Classification(classes=CLASSES, model=wrong)


def fails(classes: int, channels: int) -> nn.Module:
    """A model that is not ready."""
    raise KeyError(channels)


def answers_three(classes: int, channels: int) -> nn.Module:
    """A head for the wrong number of classes."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def text(classes: int, channels: int) -> str:
    """No model at all."""
    return "net"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (fails, r"test_blueprint:fails\(classes=2, channels=1\) raised KeyError: 1"),
        (answers_three, r"gives \(2, 3\) for 2 images of 2 classes"),
        (text, "gave a str; return a torch nn.Module"),
    ],
)
def test_a_wrong_function_is_one_line_before_anything_is_decoded(model, said):
    task = Classification(classes=CLASSES, model=model)
    with pytest.raises(RecipeError, match=said):
        check_model(replace(small_recipe("x"), task=task))


def test_a_function_has_no_imagenet_weights():
    with pytest.raises(RecipeError, match="test_blueprint:fails has no ImageNet weights"):
        Classification(classes=CLASSES, model=fails, weights="imagenet")


def test_weights_from_a_file_go_into_a_function_s_model(tmp_path, here):
    model = catalog.find("own.py").task.model
    torch.manual_seed(1)
    state = build_classifier(model, 2, 1, "none").state_dict()
    torch.save(state, tmp_path / "net.pt")
    torch.manual_seed(2)
    again = build_classifier(model, 2, 1, str(tmp_path / "net.pt")).state_dict()
    assert torch.equal(again["0.weight"], state["0.weight"])


def test_a_flag_puts_a_named_model_in_its_place(here):
    changed = override(catalog.find("own.py"), ["--task.model", "resnet18"])
    assert changed.task.model == "resnet18" and not isinstance(changed.task.model, Blueprint)
    assert "model_sha256" not in to_dict(changed)["task"]


def test_the_command_of_a_run_does_not_spell_the_function_out():
    recipe = catalog.find("chest_xray")
    assert command_of(replace(recipe, batch=8)) == "foveate train chest_xray --batch 8".split()


def test_a_killed_run_with_dropout_ends_in_the_same_weights_and_opens_again(here, monkeypatch):
    root = write_pictures(here / "pictures")
    recipe = own_recipe(root)
    clean = fit(recipe, out="clean")
    real = Trainer._next

    def turn_of(self, feed, size, turn):
        if self.step == 4:
            raise KeyboardInterrupt
        return real(self, feed, size, turn)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_next", turn_of)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, out="killed")
    assert not Path("killed/receipt.json").exists()
    assert fit(recipe, out="killed").weights_sha256 == clean.weights_sha256
    blueprint.SEEN.clear()
    scores = score_run(Path("clean"), "", "test", Logged())
    assert scores["scores"]["accuracy"] == clean.scores["test"]["accuracy"]
    assert "class" in predict_files("clean", [root / "test"])["images"][0]


def test_a_run_whose_model_changed_is_refused_by_train_and_by_eval(here):
    root = write_pictures(here / "pictures")
    fit(own_recipe(root), out="run")
    Path("own.py").write_text(NET.replace("0.3", "0.5"))
    with pytest.raises(RecipeError, match=r"another recipe \(task.model_sha256: "):
        fit(own_recipe(root), out="run")
    blueprint.SEEN.clear()
    with pytest.raises(RecipeError, match="its source in own"):
        score_run(Path("run"), "", "test", Logged())


def test_a_function_of_this_process_needs_no_file(here):
    """As in a notebook: what was built here is found again here."""
    made = Blueprint.of(answers_three)
    assert re.fullmatch(r"[0-9a-f]{64}", made.sha256)
    assert recall("test_blueprint:answers_three", made.sha256) is made
