"""`--field.name value` on top of a recipe: every mistake in one line; tyro writes the help page.

tyro's own parser is not used: it reports a wrong value in a frame of several lines and cuts off
what a dataclass says about its fields, and it takes 0.2 s. A test holds both to the same results.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..failure import RecipeError, UsageError
from ..recipe import Recipe, flatten

PLAIN = {
    str: ("one value", "values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
}
TRUTH = {"true": True, "false": False, "True": True, "False": False}


@dataclass(frozen=True)
class Assignment:
    """One field and the words that were given for it."""

    field: str
    words: tuple[str, ...]


def override(recipe: Recipe, words: Sequence[str], flags: Sequence[str] = ()) -> Recipe:
    """The recipe with `words` (["--optimizer.lr", "0.1", ...]) applied; the last of a field counts.

    `flags` are other flags that may have been meant. Raises RecipeError (exit code 10) with the
    nearest field for an unknown name, and with what is allowed for a value of the wrong type;
    UsageError (2) for a word that belongs to no field.
    """
    if not words:
        return recipe
    types = field_types(recipe)
    values = {item.field: read(item, types) for item in assignments(words, types, flags)}
    return _apply(recipe, values)


def assignments(
    words: Sequence[str], types: dict[str, Any], flags: Sequence[str] = ()
) -> list[Assignment]:
    """Words cut at each `--name`; both spellings, `--name=value` and `--a.no-b` are understood."""
    found: list[Assignment] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            spelt, equals, value = word[2:].partition("=")
            name, told = _resolve(spelt, types, flags)
            found.append(Assignment(name, told or ((value,) if equals else ())))
        elif _is_value(word) and found:
            found[-1] = replace(found[-1], words=(*found[-1].words, word))
        elif _is_value(word):
            raise UsageError(f"'{word}' belongs to no field; fields are written --name value")
        else:
            raise UsageError(f"no flag {word}; recipe fields begin with two dashes")
    return found


def read(item: Assignment, types: dict[str, Any]) -> Any:
    """The value that a field's words stand for. Raises RecipeError that says what is wanted."""
    kind, words = types[item.field], item.words
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        wanted = len(words) if Ellipsis in inner else len(inner)
        if len(words) == wanted:
            with contextlib.suppress(ValueError):
                return tuple(_convert(inner[0], word) for word in words)
    elif kind is bool and not words:
        return True
    elif len(words) == 1:
        with contextlib.suppress(ValueError):
            return _convert(kind, words[0])
    if not words:
        raise RecipeError(f"{item.field} has no value; it takes {describe_kind(kind)}")
    raise RecipeError(f"{item.field} is '{' '.join(words)}'; it takes {describe_kind(kind)}")


def describe_kind(kind: Any) -> str:
    """`a whole number`, `auto, bf16 or fp32`, `2 numbers with a space between`."""
    if get_origin(kind) is Literal:
        *most, last = map(str, get_args(kind))
        return f"{', '.join(most)} or {last}" if most else last
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        count = "" if Ellipsis in inner else f"{len(inner)} "
        return f"{count}{PLAIN.get(inner[0], ('', 'values'))[1]} with spaces between"
    return PLAIN[kind][0] if kind in PLAIN else "no value from the command line; edit a copy"


def field_types(recipe: Recipe) -> dict[str, Any]:
    """Dotted name -> declared type of every field that holds a plain value."""
    return _types(recipe, "")


def field_names(recipe: Recipe) -> list[str]:
    """Dotted names of every field that holds a plain value."""
    return list(flatten(recipe))


def describe_fields(recipe: Recipe) -> str:
    """tyro's help page for every field of a recipe, with its defaults and no colour.

    Without tyro: names and values, and what to install for the rest.
    """
    try:
        import tyro
    except ImportError:
        known = flatten(recipe)
        lines = [f"  --{name:28} {known[name]}" for name in field_names(recipe)]
        return "\n".join(["recipe fields (types and meanings: pip install tyro)", *lines])
    told = io.StringIO()
    kind, default = typed(recipe)
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"], default=default, prog="foveate")
    lines = [line.rstrip() for line in told.getvalue().splitlines()]
    lines = [line for line in lines if not re.match(r"usage:| *-h, --help| *-+$", line)]
    page = re.sub(r"(?m)^ ?options\n", "recipe fields\n", "\n".join(lines).strip("\n"), count=1)
    return re.sub(r"\n{3,}", "\n\n", page)


def typed(recipe: Recipe) -> tuple[Any, Recipe]:
    """(type, default) for tyro: the recipe, with each field's type as it has it here.

    `task` is declared by protocol; tyro needs the dataclass that is really there, and has no flag
    for `str | Callable`.
    """
    recipe = replace(recipe, task=_plain(recipe.task))
    values = [(item.name, getattr(recipe, item.name)) for item in fields(recipe)]
    shape = [(n, type(value), field(default=value)) for n, value in values if is_dataclass(value)]
    kind = make_dataclass("Recipe", shape, bases=(Recipe,), frozen=True, kw_only=True)
    return kind, recipe


def _plain(value: Any) -> Any:
    """A dataclass whose fields are declared as what can be written of them, with equal values."""
    kind, hints = type(value), get_type_hints(type(value))
    wide = [(name, _written(hint)) for name, hint in hints.items() if _written(hint) != hint]
    if not wide:
        return value
    shape = [(name, told, field(default=getattr(value, name))) for name, told in wide]
    plain = make_dataclass(kind.__name__, shape, bases=(kind,), frozen=True, kw_only=True)
    return plain(**{item.name: getattr(value, item.name) for item in fields(value)})


def _resolve(
    spelt: str, types: dict[str, Any], flags: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """(field, the value that the spelling itself gives: "false" for `a.no-b`)."""
    name = spelt.replace("-", "_")
    if name in types:
        return name, ()
    group, _, leaf = name.rpartition(".")
    plain = f"{group}.{leaf.removeprefix('no_')}".removeprefix(".")
    if leaf.startswith("no_") and types.get(plain) is bool:
        return plain, ("false",)
    inside = [known for known in types if known.startswith(f"{name}.")]
    if inside:
        some = ", ".join(f"--{_dashed(known)}" for known in inside[:3])
        raise RecipeError(f"{name} is a group of fields; set one of them: {some} ...")
    raise _unknown(spelt, list(types), flags)


def _unknown(spelt: str, known: list[str], flags: Sequence[str]) -> RecipeError | UsageError:
    """A field of that last name, else the field or flag that is spelt most alike."""
    name = spelt.replace("-", "_")
    close = [item for item in known if item.endswith(f".{name}")]
    spelling = {item: f"--{_dashed(item)}" for item in known} | {f[2:]: f for f in flags}
    close += difflib.get_close_matches(name, list(spelling), 1, 0.6)
    if close and spelling[close[0]] in flags:
        return UsageError(f"no flag or field --{spelt}; did you mean {spelling[close[0]]}?")
    hint = f"did you mean {spelling[close[0]]}?" if close else "RECIPE --help lists the fields"
    return RecipeError(f"the recipe has no field '{name}'; {hint}")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _is_value(word: str) -> bool:
    """A negative number is a value, `-x` is a flag."""
    return not re.match(r"-[A-Za-z-]", word) or word in ("-inf", "-nan")


def _convert(kind: Any, word: str) -> Any:
    """Raises ValueError where the word is no `kind`."""
    choices = TRUTH if kind is bool else {str(choice): choice for choice in get_args(kind)}
    if choices and word in choices:
        return choices[word]
    if choices or kind not in PLAIN:
        raise ValueError
    value = kind(word)
    if kind is float and not math.isfinite(value):
        raise ValueError
    return value


def _types(node: Any, prefix: str) -> dict[str, Any]:
    hints = get_type_hints(type(node))
    found: dict[str, Any] = {}
    for item in fields(node):
        value, name = getattr(node, item.name), f"{prefix}{item.name}"
        inside = is_dataclass(value) and not isinstance(value, type)
        found |= _types(value, f"{name}.") if inside else {name: _written(hints[item.name])}
    return found


def _written(kind: Any) -> Any:
    """What can be written of a type: `str` of `str | Callable`."""
    plain = [member for member in get_args(kind) if member in PLAIN]
    return plain[0] if get_origin(kind) is UnionType and plain else kind


def _apply(node: Any, values: dict[str, Any], prefix: str = "") -> Any:
    """`node` with the dotted `values` replaced, each dataclass built once, from the inside out."""
    changed: dict[str, Any] = {}
    for item in fields(node):
        name, value = prefix + item.name, getattr(node, item.name)
        if name in values:
            changed[item.name] = values[name]
        elif any(key.startswith(f"{name}.") for key in values):
            changed[item.name] = _apply(value, values, f"{name}.")
    try:
        return replace(node, **changed)
    except (ValueError, TypeError) as error:  # what a dataclass says of its own field
        raise RecipeError(f"{prefix}{error}") from None
