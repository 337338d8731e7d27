"""The command that makes a run again, from its recipe alone."""

from __future__ import annotations

from typing import Any

from .. import catalog
from ..failure import RecipeError
from ..recipe import Recipe, flatten

PROSE = ("name", "claim.text", "claim.licence", "claim.citation", "claim.flaws")


def command_of(recipe: Recipe) -> list[str]:
    """Words of `foveate train NAME` with a flag for every field that differs from NAME's.

    A recipe that is not in the package, by its name, can only be named by its file.
    """
    try:
        base = flatten(catalog.find(recipe.name))
    except RecipeError:
        return ["foveate", "train", f"{recipe.name.replace(':', '-')}.py"]
    words = ["foveate", "train", recipe.name]
    for name, value in flatten(recipe).items():
        if name not in PROSE and base.get(name) != value:
            words += _flag(name.replace("_", "-"), value)
    return words


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        group, _, leaf = name.rpartition(".")
        return [f"--{name}" if value else f"--{group}{'.' if group else ''}no-{leaf}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{name}", *(str(item) for item in values)]
