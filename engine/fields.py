"""What a recipe's fields may hold: their declared types, checked when a recipe is made.

A recipe written in Python is held to the same types as one overridden on the command line, and
2 for a float is 2.0, so that both spellings are one recipe with one hash.
"""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .failure import RecipeError


def check_fields(part: Any, prefix: str = "") -> None:
    """Put every field of a frozen dataclass into its declared type, for `__post_init__`.

    Whole numbers become floats, lists tuples and paths strings where that is what is declared.
    Raises RecipeError with the dotted name, the value and what is wanted.
    """
    types = get_type_hints(type(part))
    for item in fields(part):
        value = getattr(part, item.name)
        kept = _fit(value, types[item.name], prefix + item.name)
        if kept is not value:
            object.__setattr__(part, item.name, kept)


def _fit(value: Any, kind: Any, name: str) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        return _choose(value, get_args(kind), name)
    if origin is tuple:
        return _fit_tuple(value, get_args(kind), name)
    if origin in (Union, UnionType) or kind not in (bool, int, float, str):
        return value  # a part with checks of its own, or a callable
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and isinstance(value, Path):
        return str(value)
    if type(value) is not kind or (kind is float and not isfinite(value)):
        wanted = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
        raise RecipeError(f"{name} is {value!r}; it takes {wanted[kind]}")
    return value


def _choose(value: Any, known: tuple[Any, ...], name: str) -> Any:
    if value not in known:
        raise RecipeError(f"{name} is {value!r}; it is one of {', '.join(map(str, known))}")
    return value


def _fit_tuple(value: Any, kinds: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise RecipeError(f"{name} is {value!r}; it takes several values, as (1, 2)")
    many = len(kinds) == 2 and kinds[1] is Ellipsis
    if not many and len(value) != len(kinds):
        raise RecipeError(f"{name} has {len(value)} values; it takes {len(kinds)}")
    each = [kinds[0]] * len(value) if many else list(kinds)
    kept = tuple(_fit(item, kind, name) for item, kind in zip(value, each, strict=True))
    return kept


def require(good: bool, name: str, value: Any, wanted: str) -> None:
    """Raise RecipeError unless `good`; `wanted` says what would be."""
    if not good:
        raise RecipeError(f"{name} is {value}; {wanted}")
