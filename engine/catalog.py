"""Finding recipes: by name in the package, by path anywhere, with `:variant` for one of several."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import shutil
import sys
import traceback
from collections.abc import Iterable
from importlib import resources
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from ..dataloaders.errors import FoveateError
from .failure import RecipeError
from .recipe import Recipe


def shipped() -> dict[str, Path]:
    """Name -> file of every recipe that comes with the package, sorted."""
    folder = Path(str(resources.files("foveate"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def variants(path: Path) -> dict[str, Recipe]:
    """Name -> recipe of everything a recipe file holds: `recipe` first, the rest as in the file.

    Raises RecipeError where the file has an error in it, with its line, or holds no recipe.
    """
    everything = vars(load(path)).items()
    found = {n: v for n, v in everything if isinstance(v, Recipe) and not n.startswith("_")}
    if not found:
        raise RecipeError(f"{path} holds no recipe; write recipe = Recipe(...) in it")
    first = {"recipe": found["recipe"]} if "recipe" in found else {}
    return first | found


def find(name: str) -> Recipe:
    """`oct2017`, `oct2017:faithful`, `my/recipe.py` or `my/recipe.py:variant` -> the recipe.

    Raises RecipeError where there is no such file or variant, or the file has an error in it.
    """
    stem, variant = split(name)
    found = variants(locate(stem))
    if variant not in found:
        has = f"; it has {', '.join(f'{stem}:{known}' for known in found)}"
        raise RecipeError(f"{stem} has no recipe '{variant}'{_nearest(variant, found) or has}")
    return found[variant]


def split(name: str) -> tuple[str, str]:
    """(name or path, variant); `recipe` is the variant of a name without one."""
    stem, colon, variant = name.rpartition(":")
    if not colon or Path(name).is_file():
        return name, "recipe"
    return stem, variant


def locate(stem: str) -> Path:
    """The file of a recipe, by name or path."""
    path = Path(stem).expanduser()
    if path.suffix == ".py" or "/" in stem:
        if not path.is_file():
            makes = "; `foveate recipes cp oct2017 FILE.py` makes one"
            raise RecipeError(f"no recipe file {path}{makes}")
        return path
    if stem not in shipped():
        lists = "; `foveate recipes ls` lists them"
        raise RecipeError(f"no recipe '{stem}'{_nearest(stem, shipped()) or lists}")
    return shipped()[stem]


def copy(name: str, to: Path) -> Path:
    """Copy a recipe file to one of one's own. Raises RecipeError rather than overwrite."""
    source = locate(split(name)[0])
    target = to / source.name if to.is_dir() else to
    if target.suffix != ".py":
        raise RecipeError(f"{target} is no folder and does not end with .py; give one or the other")
    if target.exists() or target.is_symlink():
        raise RecipeError(f"{target} is there already; give another name")
    return Path(shutil.copyfile(source, target))


class _Fresh(SourceFileLoader):
    """Never reads or leaves a `__pycache__`: what runs is what the file says now."""

    def path_stats(self, path: Any) -> Any:
        raise OSError


def load(path: Path) -> ModuleType:
    """Run a recipe file, as it is now. Raises RecipeError with the line that failed."""
    whole = str(path.absolute())
    name = f"foveate_recipe_{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, _Fresh(name, whole))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass in the file looks its own module up, now and later
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a person's file raises, they need its line
        del sys.modules[name]
        raise RecipeError(f"{path}{_line(error, whole)}: {_said(error)}") from None
    return module


def _line(error: BaseException, file: str) -> str:
    """`, line 7`: the last line of `file` on the way to the error; empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f", line {error.lineno}" if error.lineno else ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f", line {frames[-1].lineno}" if frames else ""


def _said(error: BaseException) -> str:
    """The error in one line; its kind is left out where the text was written for people."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = next(iter(text.splitlines()), "")
    plain = isinstance(error, FoveateError | ValueError) and first
    return first if plain else f"{type(error).__name__}: {first}".removesuffix(": ")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{close[0]}'?" if close else ""
