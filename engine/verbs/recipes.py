"""Verbs about recipes; they show on standard output."""

from __future__ import annotations

import textwrap
from argparse import Namespace

from .. import catalog
from ..recipe import differences, recipe_hash, to_dict
from .asked import named_recipe, show_fields
from .overrides import describe_fields


def ls(known: Namespace) -> int:
    """`foveate recipes ls`"""
    for name, path in catalog.shipped().items():
        for variant, recipe in catalog.variants(path).items():
            shown = name if variant == "recipe" else f"{name}:{variant}"
            size = f"{recipe.epochs:g} epochs of batch {recipe.batch} at {recipe.size} px"
            model = getattr(recipe.task, "model", "")
            print(f"{shown:24} {model:14} {size}")
    return 0


def show(known: Namespace) -> int:
    """`foveate recipes show NAME [--field value ...]`"""
    if known.help:
        return show_fields(known)
    recipe = named_recipe(known)
    print(f"{recipe.name}  {recipe_hash(recipe)}\n{textwrap.fill(recipe.claim.text, 100)}\n")
    print(describe_fields(recipe))
    return 0


def cp(known: Namespace) -> int:
    """`foveate recipes cp NAME [PATH]`"""
    path = catalog.copy(known.recipe, known.to)
    print(f"{path}\nyours to edit, then `foveate train {path}`")
    return 0


def diff(known: Namespace) -> int:
    """`foveate recipes diff ONE OTHER`"""
    one, other = catalog.find(known.one), catalog.find(known.other)
    lines = differences(to_dict(one), to_dict(other))
    shown = [line for line in lines if not line.startswith(("claim.", "name:"))]
    print("\n".join(shown) or "no field differs")
    return 0
