"""What most verbs ask of their words first: the recipe with its overrides, and where to speak."""

from __future__ import annotations

import textwrap
from argparse import Namespace

from .. import catalog
from ..failure import RecipeError, UsageError
from ..recipe import Recipe
from ..run.console import Lines, Logged, open_console
from .overrides import describe_fields, override


def named_recipe(known: Namespace) -> Recipe:
    """The recipe that was named, with every `--field value` on it."""
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


def show_fields(known: Namespace) -> int:
    """The verb's flags, then the recipe's fields."""
    recipe = named_recipe(known)
    known.parser.print_help()
    print(f"\n{known.recipe}\n{textwrap.fill(recipe.claim.text, 100)}\n")
    print(describe_fields(recipe))
    return 0


def console_of(known: Namespace) -> Logged | Lines:
    """Where progress goes: away from standard output where that is to be read by a program."""
    return open_console(known.quiet, aside=getattr(known, "json", None) == "-")
