"""Recipe fields on the command line: what is understood, and what is said of what is not."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, replace

import pytest
import tyro

from foveate.dataloaders.errors import FoveateError
from foveate.engine.recipe import Recipe, flatten
from foveate.engine.verbs.overrides import describe_fields, field_names, override, typed
from foveate.recipes.oct2017 import quickstart, recipe

UNDERSTOOD = [
    ("--batch 8", {"batch": 8}),
    ("--batch=8", {"batch": 8}),
    ("--batch 4 --batch 8", {"batch": 8}),
    ("--norm-group 64", {"norm_group": 64}),
    ("--norm_group 64", {"norm_group": 64}),
    ("--optimizer.weight-decay=1e-4", {"optimizer.weight_decay": 1e-4}),
    ("--optimizer.weight_decay=1e-4", {"optimizer.weight_decay": 1e-4}),
    ("--epochs 3", {"epochs": 3.0}),
    ("--epochs .5", {"epochs": 0.5}),
    ("--data.mean -3", {"data.mean": (-3.0,)}),
    ("--data.root my_data/OCT-2017", {"data.root": "my_data/OCT-2017"}),
    ("--data.root=a=b", {"data.root": "a=b"}),
    ("--claim.text=--odd", {"claim.text": "--odd"}),
    ("--data.shuffle-labels", {"data.shuffle_labels": True}),
    ("--data.shuffle_labels", {"data.shuffle_labels": True}),
    ("--optimizer.no-nesterov", {"optimizer.nesterov": False}),
    ("--optimizer.no_nesterov", {"optimizer.nesterov": False}),
    ("--schedule.sizes 96 128 --seed 1", {"schedule.sizes": (96, 128), "seed": 1}),
    ("--schedule.sizes=96 128", {"schedule.sizes": (96, 128)}),
    ("--schedule.sizes", {"schedule.sizes": ()}),
    ("--augment.area 0.5 1", {"augment.area": (0.5, 1.0)}),
    ("--data.channels 1", {"data.channels": 1}),
    ("--precision fp64", {"precision": "fp64"}),
    ("--task.model resnet18", {"task.model": "resnet18"}),
    ("--data.twin.kind oct", {"data.twin.kind": "oct"}),
    (
        "--optimizer.kind adamw --optimizer.momentum 0 --optimizer.no-nesterov",
        {"optimizer.kind": "adamw", "optimizer.momentum": 0.0, "optimizer.nesterov": False},
    ),
]
OURS_ALONE = ("=96 128", "=--odd")  # spellings that tyro reads in another way
REFUSED = [
    ("--bacth 4", 10, r"no field 'bacth'; did you mean --batch\?"),
    ("--lr 0.1", 10, r"no field 'lr'; did you mean --optimizer.lr\?"),
    ("--weight-decay 0.1", 10, r"no field 'weight_decay'; did you mean --optimizer.weight-decay\?"),
    ("--optimiser.lr 1", 10, r"did you mean --optimizer.lr\?"),
    ("--data.rot x", 10, r"did you mean --data.root\?"),
    ("--zzz 1", 10, r"no field 'zzz'; RECIPE --help lists the fields"),
    ("--optimizer adamw", 10, r"optimizer is a group of fields; .*--optimizer.kind"),
    ("--data.no-root x", 10, r"no field 'data.no_root'; did you mean --data.root\?"),
    ("--batch", 10, r"batch has no value; it takes a whole number"),
    ("--batch --seed 1", 10, r"batch has no value"),
    ("--batch ten", 10, r"batch is 'ten'; it takes a whole number"),
    ("--batch 8.5", 10, r"batch is '8.5'; it takes a whole number"),
    ("--batch=", 10, r"batch is ''; it takes a whole number"),
    ("--batch 8 9", 10, r"batch is '8 9'; it takes a whole number"),
    ("--epochs many", 10, r"epochs is 'many'; it takes a number"),
    ("--epochs nan", 10, r"epochs is 'nan'; it takes a number"),
    ("--optimizer.lr inf", 10, r"optimizer.lr is 'inf'; it takes a number"),
    ("--precision fp8", 10, r"precision is 'fp8'; it takes auto, bf16, fp32 or fp64"),
    ("--data.channels 2", 10, r"data.channels is '2'; it takes 1 or 3"),
    ("--data.shuffle-labels 1", 10, r"data.shuffle_labels is '1'; it takes true or false"),
    ("--data.root a b", 10, r"data.root is 'a b'; it takes one value"),
    ("--augment.area 0.5", 10, r"augment.area is '0.5'; it takes 2 numbers with spaces between"),
    ("--augment.area 1 0.5", 10, r"augment.area must be .* got \(1.0, 0.5\)"),
    ("--augment.flip 2", 10, r"augment.flip must be a number from 0 to 1"),
    ("--schedule.sizes 96,128", 10, r"sizes is '96,128'; it takes whole numbers with spaces"),
    ("--optimizer.betas .8 .9", 10, r"optimizer.betas is set, but sgd does not use it"),
    ("--batch 0", 10, r"batch is 0; it must be above 0"),
    ("--batch -8", 10, r"batch is -8; it must be above 0"),
    ("--epochs 0", 10, r"epochs is 0.0; it must be above 0"),
    ("--ema 1", 10, r"ema is 1.0; it is a decay"),
    ("--task.label-smoothing 1", 10, r"task.label_smoothing is 1.0"),
    ("--task.classes A A", 10, r"task.classes names a class twice"),
    ("--jsn x", 2, r"no flag or field --jsn; did you mean --json\?"),
    ("--freshh", 2, r"no flag or field --freshh; did you mean --fresh\?"),
    ("8", 2, r"'8' belongs to no field; fields are written --name value"),
    ("optimizer.lr=1", 2, r"'optimizer.lr=1' belongs to no field"),
    ("-x", 2, r"no flag -x; recipe fields begin with two dashes"),
]


@pytest.mark.parametrize(("line", "expected"), UNDERSTOOD, ids=lambda x: x if x == str(x) else "")
def test_fields_are_understood(line, expected):
    before, after = flatten(recipe), flatten(override(recipe, line.split()))
    changed = {name: value for name, value in after.items() if value != before[name]}
    assert {name: after[name] for name in expected} == expected
    assert changed.keys() <= expected.keys()
    assert [type(after[name]) for name in expected] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(("line", "code", "text"), REFUSED, ids=[line for line, *_ in REFUSED])
def test_a_mistake_is_one_line_that_names_the_field(line, code, text):
    with pytest.raises(FoveateError) as caught:
        override(recipe, line.split(), ["--json", "--fresh", "--out"])
    assert caught.value.exit_code == code
    assert re.search(text, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_tyro_reads_the_same_words_as_we_do():
    lines = [line for line, _ in UNDERSTOOD if not any(odd in line for odd in OURS_ALONE)]
    words = [w for w in " ".join(lines).split() if w != "--schedule.sizes=96"]
    dashed = [w.replace("_", "-") if w.startswith("--") else w for w in words]
    with contextlib.redirect_stderr(io.StringIO()):
        kind, default = typed(recipe)
        theirs = tyro.cli(kind, args=dashed, default=default)
    assert flatten(override(recipe, words)) == flatten(theirs)


def test_nothing_given_changes_nothing():
    assert override(recipe, []) is recipe
    assert override(recipe, ["--batch", str(recipe.batch)]) == recipe


def test_an_override_keeps_the_type_of_the_recipe_and_its_task():
    changed = override(quickstart, ["--task.weights", "none", "--data.twin.seed", "3"])
    assert type(changed) is Recipe
    assert type(changed.task) is type(quickstart.task)
    assert changed.data.twin == replace(quickstart.data.twin, seed=3)


def test_help_shows_every_field_with_its_default_at_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    page = describe_fields(recipe)
    names = [f"--{name.replace('_', '-')}" for name in field_names(recipe)]
    assert not [name for name in names if name not in page]
    assert max(map(len, page.splitlines())) <= 100
    assert "\x1b" not in page and "(default: 0.4)" in page and "usage" not in page


@dataclass(frozen=True)
class Odd:
    """A task with a field that no word on a command line can stand for."""

    classes: tuple[str, ...] = ("a", "b")
    table: dict[str, int] | None = None


def test_a_field_of_an_unusual_type_says_where_to_set_it():
    with pytest.raises(
        FoveateError, match=r"task.table is 'x'; it takes no value from the command"
    ):
        override(replace(recipe, task=Odd()), ["--task.table", "x"])
