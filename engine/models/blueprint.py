"""Models that a person writes: a function or class in a recipe file, hashed by name and source.

A recipe holds one as a `Blueprint`: text ("chest_xray:cnn") that can also build. A run folder holds
the text and the hash, never code, and nothing that it says decides which file is run: a name is
looked up among what this process has built from, the recipes of the package, and the file of that
name in the current folder, and a file is run only if the hash of its text is the recorded one.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

from .. import catalog
from ..failure import RecipeError

SEEN: dict[tuple[str, str], Blueprint] = {}
"""(name, sha256) -> what this process has already been given, in a notebook too."""


class Blueprint(str):
    """`<file stem>:<function>`; called with (classes, channels) it gives a new model.

    Two are equal where name and source are.
    """

    sha256: str
    function: Callable[..., nn.Module]

    @classmethod
    def of(cls, function: Callable[..., nn.Module]) -> Blueprint:
        """Raises RecipeError unless it is a function or class at the top of a file or cell."""
        title = getattr(function, "__qualname__", "")
        if not title.isidentifier():
            raise RecipeError(
                f"task.model is {title or function!r}; give a function at the top of a file, "
                "cnn(classes, channels) -> nn.Module"
            )
        try:
            lines, _ = inspect.findsource(function)
            file = Path(inspect.getsourcefile(function) or "")
        except (OSError, TypeError):
            raise RecipeError(
                f"the source of task.model {title} cannot be read; define it in a file"
            ) from None
        made = cls(f"{file.stem if file.is_file() else '__main__'}:{title}")
        made.function, made.sha256 = function, hash_source("".join(lines), title)
        return SEEN.setdefault((str(made), made.sha256), made)

    def __call__(self, classes: int, channels: int) -> nn.Module:
        """A new model. Raises RecipeError where the function fails or gives something else."""
        called = f"task.model {self}(classes={classes}, channels={channels})"
        try:
            model = self.function(classes=classes, channels=channels)
        except Exception as error:  # whatever a person's function raises
            said = next(iter(str(error).splitlines()), "")
            raise RecipeError(f"{called} raised {type(error).__name__}: {said}") from error
        if not isinstance(model, nn.Module):
            raise RecipeError(f"{called} gave a {type(model).__name__}; return a torch nn.Module")
        return model

    def __eq__(self, other: object) -> bool:
        same = not isinstance(other, Blueprint) or other.sha256 == self.sha256
        return same and str.__eq__(self, other)

    __hash__ = str.__hash__

    def __deepcopy__(self, memo: dict[int, Any]) -> Blueprint:
        return self


def recall(name: str, sha256: str) -> Blueprint:
    """The blueprint that a run was made with. Raises RecipeError where it is gone or changed."""
    if (name, sha256) in SEEN:
        return SEEN[name, sha256]
    stem, _, title = name.partition(":")
    own = Path(f"{Path(stem).name}.py")  # in the current folder, whatever the run folder says
    places = [path for path in (catalog.shipped().get(stem), own) if path and path.is_file()]
    places = places if own.stem == stem else []
    for path in places:
        if _hash_file(path, title) == sha256:
            return Blueprint.of(getattr(catalog.load(path), title))
    if places:
        raise RecipeError(
            f"the model {name} is not what this run was made with: its source in {places[-1]} "
            "changed; bring that back, or train again with --fresh"
        )
    raise RecipeError(
        f"this run needs the model {name}; go to the folder where {own} is and try again"
    )


def hash_source(text: str, title: str) -> str:
    """sha256 of what `title` is at the top of `text`, and of everything there that it uses.

    Nothing is run. Raises KeyError where the text does not define it at its top.
    """
    at_top = {name: node for node in ast.parse(text).body for name in _bound(node)}
    used, waiting = set(), [at_top[title]]
    while waiting:
        node = waiting.pop()
        used.add(node)
        names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        waiting += {at_top[name] for name in names & at_top.keys()} - used
    parts = [_segment(text, node) for node in sorted(used, key=lambda node: node.lineno)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement at the top of a file gives something to."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (name.asname or name.name.partition(".")[0] for name in node.names)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        stored = (item for item in ast.walk(node) if isinstance(item, ast.Name))
        yield from (item.id for item in stored if isinstance(item.ctx, ast.Store))


def _segment(text: str, node: ast.stmt) -> str:
    """A statement as it is written, decorators too; spaces at the end of lines do not count."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    lines = text.splitlines()[first - 1 : node.end_lineno]
    return "\n".join(line.rstrip() for line in lines)


def _hash_file(path: Path, title: str) -> str:
    """As `hash_source`; empty where the file cannot be read or has no such thing."""
    try:
        return hash_source(path.read_text(encoding="utf-8"), title)
    except (OSError, ValueError, SyntaxError, KeyError):
        return ""
