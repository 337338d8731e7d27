"""Learning rates and resolutions are tables that follow from the recipe."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from pictures import small_recipe

from foveate.engine.catalog import find
from foveate.engine.failure import RecipeError
from foveate.engine.recipe import Optimizer, Schedule
from foveate.engine.schedule import learning_rates, resolutions, size_at


def rates(steps: int, **schedule):
    recipe = small_recipe(".", optimizer=Optimizer(lr=0.5), schedule=Schedule(**schedule))
    return learning_rates(recipe, steps, steps_per_epoch=10)


def test_onecycle_rises_to_the_peak_and_falls_to_nearly_nothing():
    table = rates(100, kind="onecycle", warmup=0.2)
    assert table[19] < table[20] == 0.5 == max(table)
    assert all(a < b for a, b in pairwise(table[:21]))
    assert all(a > b for a, b in pairwise(table[20:]))
    assert 0 < table[-1] < 1e-3
    assert table[60] == pytest.approx(0.25)


def test_the_learning_rates_of_2018_never_leave_a_hundredth_in_two_epochs():
    recipe = find("oct2017:faithful")
    assert set(learning_rates(recipe, 2 * 4174, 66_787 / 16)) == {0.01}
    long = learning_rates(replace(recipe, epochs=15), 15 * 100, 100)
    assert long[699] == 0.01 and long[700] == pytest.approx(0.001)
    assert long[-1] == pytest.approx(0.0001)


def test_a_constant_rate_stays():
    assert set(rates(7)) == {0.5}


def test_resolutions_change_where_the_shares_say():
    recipe = small_recipe(".", schedule=Schedule(sizes=(96, 128, 224), shares=(0.5, 0.25, 0.25)))
    phases = resolutions(recipe, 40)
    assert phases == ((0, 96), (20, 128), (30, 224))
    assert [size_at(phases, step) for step in (0, 19, 20, 29, 30, 39)] == [
        96,
        96,
        128,
        128,
        224,
        224,
    ]
    assert resolutions(small_recipe("."), 40) == ((0, 32),)


def test_shares_that_do_not_fit_are_refused():
    for shares in ((1.0,), (0.5, 0.4)):
        recipe = small_recipe(".", schedule=Schedule(sizes=(96, 128), shares=shares))
        with pytest.raises(RecipeError, match=r"schedule\.shares"):
            resolutions(recipe, 10)
