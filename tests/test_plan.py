"""The plan has every number of a run, and refuses what cannot work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pictures import small_recipe

from foveate.engine.catalog import find
from foveate.engine.failure import RecipeError
from foveate.engine.plan import Machine, make_plan
from foveate.engine.recipe import Schedule
from foveate.kernels.sample.augment import Augment
from foveate.kernels.sample.params import resolve

MACHINE = Machine("cpu", threads=2, bf16=True, memory_bytes=8 << 30)


def plan(recipe, images=64, held_out=16, **machine):
    return make_plan(
        recipe, replace(MACHINE, **machine), train_images=images, held_out_images=held_out
    )


def test_the_run_of_2018_is_8348_steps_of_16():
    made = plan(find("oct2017:faithful"), 66_787, 16_697)
    assert (made.steps, made.micro, made.accumulate) == (8348, 16, 1)
    assert made.evals == (4174, 8348)
    assert made.precision == "fp32"


def test_steps_cover_the_epochs_and_end_in_a_save():
    made = plan(small_recipe(".", epochs=2.5, save_epochs=0.5))
    assert made.steps == 20
    assert made.saves == (4, 8, 12, 16, 20)
    assert made.evals == (8, 16, 20)
    assert len(made.lr) == 20


def test_without_a_held_out_part_nothing_is_evaluated_while_training():
    assert plan(small_recipe("."), held_out=0).evals == ()


def test_a_micro_batch_is_one_norm_group_and_ranks_share_whole_groups():
    recipe = small_recipe(".", batch=48, norm_group=4)
    assert (plan(recipe).micro, plan(recipe).accumulate) == (4, 12)
    assert plan(recipe, world=6).accumulate == 2
    with pytest.raises(RecipeError, match="cannot be shared by 5 ranks"):
        plan(recipe, world=5)
    with pytest.raises(RecipeError, match="norm_group 5"):
        plan(replace(recipe, norm_group=5))


def test_the_hash_does_not_depend_on_the_machine():
    recipe = small_recipe(".", batch=48, norm_group=4)
    assert plan(recipe).recipe_hash == plan(recipe, world=3, threads=7, bf16=False).recipe_hash


def test_precision_auto_is_bf16_only_where_the_hardware_multiplies_it():
    recipe = small_recipe(".", precision="auto")
    assert plan(recipe).precision == "bf16"
    slow = plan(recipe, bf16=False)
    assert slow.precision == "fp32"
    assert any("no bfloat16" in note for note in slow.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 65}, "batch is 65 and there are 64"),
        ({"size": 16}, "under 32 pixels"),
        ({"schedule": Schedule(sizes=(16, 64), shares=(0.5, 0.5))}, "under 32 pixels"),
        ({"schedule": Schedule(sizes=(64,), shares=())}, "schedule.shares"),
    ],
)
def test_impossible_recipes_are_refused_with_the_field(change, says):
    with pytest.raises(RecipeError, match=says):
        plan(small_recipe(".", **change))


def test_augmentation_that_cannot_be_done_is_refused_before_the_first_step():
    recipe = small_recipe(".")
    with pytest.raises(RecipeError, match=r"stain is for RGB images, and data\.channels is 1"):
        plan(replace(recipe, augment=Augment(stain=0.1)))
    plan(replace(recipe, augment=Augment(stain=0.1), data=replace(recipe.data, channels=3)))
    wide = Augment(scale=(0.01, 1.0), shear=45.0, translate=1.0)
    with pytest.raises(RecipeError, match=r"augment.scale 0.01 .* at size 512, at most 32,767"):
        plan(replace(recipe, size=512, augment=wide))


def test_whatever_the_plan_lets_through_can_be_drawn():
    shape = np.tile([40, 50, 1], (500, 1))
    for low, shear, translate in ((0.1, 30.0, 0.5), (0.4, 60.0, 1.0), (1.0, 60.0, 1.0)):
        augment = Augment(rotate=180.0, scale=(low, low), shear=shear, translate=translate)
        side = next(s for s in range(2048, 31, -32) if _is_planned(augment, s))
        resolve(augment, shape, side, seed=1, epoch=0, index=np.arange(500))


def _is_planned(augment, side):
    try:
        plan(replace(small_recipe("."), size=side, augment=augment))
    except RecipeError:
        return False
    return True


def test_keeping_the_best_needs_something_to_choose_by():
    recipe = small_recipe(".", keep="best")
    with pytest.raises(RecipeError, match="nothing is held out"):
        plan(replace(recipe, data=replace(recipe.data, split="none")))


def test_one_value_per_channel_or_one_for_all():
    recipe = small_recipe(".")
    with pytest.raises(RecipeError, match=r"data\.mean has 2 values"):
        plan(replace(recipe, data=replace(recipe.data, channels=3, mean=(0.1, 0.2))))


def test_what_is_said_aloud():
    notes = " ".join(plan(small_recipe(".", precision="auto"), bf16=False).notes)
    assert "random weights" in notes and "image by image" in notes


def test_a_plan_has_a_row_per_step_so_there_is_a_limit():
    with pytest.raises(RecipeError, match="over 10,000,000 steps"):
        plan(small_recipe(".", epochs=1e9))
    assert plan(small_recipe(".", save_epochs=1e-9)).saves == tuple(range(1, 25))


def test_nothing_to_train_on_is_said():
    with pytest.raises(RecipeError, match="nothing to train on"):
        plan(small_recipe("."), images=0)
