"""Verbs about recipes, training, scores and data, a function each; they show on standard output.

The others are in `verbs_runs` and `verbs_help`. A verb refuses what it can see to be wrong before
it starts anything slow.
"""

from __future__ import annotations

import os
import textwrap
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from typing import Any

from . import catalog
from .answer import write_answer as _write_json
from .console import Lines, Logged, open_console
from .failure import RecipeError, UsageError
from .guards import check_output, check_run
from .overrides import describe_fields, override
from .recipe import Recipe, differences, recipe_hash, to_dict


def recipes_ls(known: Namespace) -> int:
    """`foveate recipes ls`"""
    for name, path in catalog.shipped().items():
        for variant, recipe in catalog.variants(path).items():
            shown = name if variant == "recipe" else f"{name}:{variant}"
            size = f"{recipe.epochs:g} epochs of batch {recipe.batch} at {recipe.size} px"
            model = getattr(recipe.task, "model", "")
            print(f"{shown:24} {model:14} {size}")
    return 0


def recipes_show(known: Namespace) -> int:
    """`foveate recipes show NAME [--field value ...]`"""
    if known.help:
        return _help(known)
    recipe = _recipe(known)
    print(f"{recipe.name}  {recipe_hash(recipe)}\n{textwrap.fill(recipe.claim.text, 100)}\n")
    print(describe_fields(recipe))
    return 0


def recipes_cp(known: Namespace) -> int:
    """`foveate recipes cp NAME [PATH]`"""
    path = catalog.copy(known.recipe, known.to)
    print(f"{path}\nyours to edit, then `foveate train {path}`")
    return 0


def recipes_diff(known: Namespace) -> int:
    """`foveate recipes diff ONE OTHER`"""
    one, other = catalog.find(known.one), catalog.find(known.other)
    lines = differences(to_dict(one), to_dict(other))
    shown = [line for line in lines if not line.startswith(("claim.", "name:"))]
    print("\n".join(shown) or "no field differs")
    return 0


def plan(known: Namespace) -> int:
    """`foveate plan RECIPE [--world N]`"""
    if known.help:
        return _help(known)
    recipe = _recipe(known)
    check_output(known.json)
    from .planning import check_model, describe_plan, plan_recipe

    made, source = plan_recipe(recipe, known.world, _console(known))
    check_model(recipe)
    if not _write_json(known.json, made.to_dict()):
        print(describe_plan(made, source))
    return 0


def train(known: Namespace) -> int:
    """`foveate train RECIPE [--out DIR] [--fresh] [--tracking URI]`"""
    if known.help:
        return _help(known)
    recipe = _recipe(known)
    check_output(known.json)
    from .fit import fit

    with closing(_console(known)) as console:
        receipt = fit(
            recipe, out=known.out, fresh=known.fresh, console=console, tracking=known.tracking
        )
    if os.environ.get("RANK", "0") != "0":
        return 0  # one of several processes speaks
    if not _write_json(known.json, receipt.to_dict()):
        print(receipt.describe())
    return 0


def launch_help(known: Namespace) -> int:
    """`foveate launch`"""
    raise UsageError("`foveate launch` needs a verb: local")


def launch_local(known: Namespace) -> int:
    """`foveate launch local --nproc N RECIPE [--out DIR] [--fresh]`"""
    if known.help:
        return _help(known)
    _recipe(known)  # mistakes are answered once, before there are several processes
    check_output(known.json)
    from .launch import launch_local

    words = [known.recipe, *known.rest]
    words += ["--out", known.out] if known.out else []
    words += ["--fresh"] * known.fresh + ["-q"] * known.quiet + ["-v"] * known.verbose
    words += ["--json", known.json] if known.json else []
    words += ["--tracking", known.tracking] if known.tracking else []
    return launch_local(known.nproc, words)


def evaluate(known: Namespace) -> int:
    """`foveate eval RUN [--root DIR]`"""
    check_output(known.json)
    check_run(known.folder)
    from .scoring import describe_scores, score_run

    scores = score_run(known.folder, known.root, known.split, _console(known))
    if not _write_json(known.json, scores):
        print(describe_scores(scores))
    return 0


def predict(known: Namespace) -> int:
    """`foveate predict RUN PATH...`; 20 where a file could not be read."""
    check_output(known.json)
    check_run(known.folder)
    from .scoring import predict_files

    answers = predict_files(known.folder, known.paths)
    if not _write_json(known.json, answers):
        for answer in answers["images"]:
            said = answer.get("error") or f"{answer['class']:16} {answer['confidence']:.1%}"
            print(f"{answer['path']}  {said}")
    return 0 if all("error" not in answer for answer in answers["images"]) else 20


def data_help(known: Namespace) -> int:
    """`foveate data` alone."""
    raise UsageError("`foveate data` needs a verb: synth, fetch or pack")


def data_synth(known: Namespace) -> int:
    """`foveate data synth RECIPE [--out DIR]`"""
    twin = _find_twin(known.recipe)
    asked = {name: getattr(known, name) for name in ("train", "test", "seed")}
    twin = replace(twin, **{name: value for name, value in asked.items() if value is not None})
    from .prepare import twin_folder, write_twin

    folder = known.out or twin_folder(twin)
    write_twin(twin, folder, _console(known))
    print(folder)
    return 0


def data_pack(known: Namespace) -> int:
    """`foveate data pack RECIPE [--field value ...]`"""
    if known.help:
        return _help(known)
    recipe = _recipe(known)
    from .plan import this_machine
    from .prepare import list_data, prepare

    console = _console(known)
    listing = list_data(recipe, console)
    prepared = prepare(recipe, listing, this_machine().threads, console)
    pixels = prepared.pack.pixels
    print(f"{prepared.pack.folder}  {len(listing.manifest):,} images  {pixels.nbytes / 1e9:.2f} GB")
    for line in (*listing.differences, *(f"unreadable: {q}" for q in prepared.quarantined())):
        print(line)
    return 0


def _recipe(known: Namespace) -> Recipe:
    try:
        found = catalog.find(known.recipe)
    except RecipeError:
        _refuse_fields_first(known)
        raise
    return override(found, known.rest, known.parser.flags)


def _refuse_fields_first(known: Namespace) -> None:
    """`train --batch 8 oct2017` gave argparse the 8 as the recipe: say what the order is."""
    names = [w for w in known.rest if catalog.split(w)[0] in catalog.shipped() or w.endswith(".py")]
    if names:
        prog = known.parser.prog
        raise UsageError(f"the recipe comes before its fields: {prog} {names[0]} --field value")


def _help(known: Namespace) -> int:
    """The verb's flags, then the recipe's fields."""
    recipe = _recipe(known)
    known.parser.print_help()
    print(f"\n{known.recipe}\n{textwrap.fill(recipe.claim.text, 100)}\n")
    print(describe_fields(recipe))
    return 0


def _find_twin(name: str) -> Any:
    """The recipe's twin, or the first that its file has."""
    stem, variant = catalog.split(name)
    asked = catalog.find(name)
    others = catalog.variants(catalog.locate(stem)).values() if variant == "recipe" else ()
    for recipe in (asked, *others):
        if recipe.data.twin.kind != "none":
            return recipe.data.twin
    raise RecipeError(f"{name} has no synthetic twin; set data.twin in a copy of it")


def _console(known: Namespace) -> Logged | Lines:
    """Where progress goes: away from standard output where that is to be read by a program."""
    return open_console(known.quiet, aside=getattr(known, "json", None) == "-")
