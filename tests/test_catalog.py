"""Recipes by name and by file, and what is said of files that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from foveate.engine import catalog
from foveate.engine.failure import RecipeError
from foveate.engine.verbs.overrides import override
from foveate.recipes import oct2017

HEAD = "from dataclasses import dataclass, replace\nfrom foveate.recipes import oct2017 as o\n"
BROKEN = [
    ("x = 1\nrecipe = (\n", r"FILE, line 2: SyntaxError: '\(' was never closed"),
    ("x = 1\n  y = 2\n", r"FILE, line 2: IndentationError: unexpected indent"),
    ("raise KeyError('boo')\n", r"FILE, line 1: KeyError: 'boo'"),
    ("\nimport not_there\n", r"FILE, line 2: ModuleNotFoundError: No module named 'not_there'"),
    ("import sys\nsys.exit(3)\n", r"FILE, line 2: SystemExit: 3"),
    ("raise RuntimeError\n", r"FILE, line 1: RuntimeError"),
    ("raise RuntimeError('a\\nb')\n", r"FILE, line 1: RuntimeError: a"),
    ("x = 1\n", r"FILE holds no recipe; write recipe = Recipe"),
    ("", r"FILE holds no recipe"),
    (HEAD + "\nrecipe = replace(o.recipe, batch=-1)\n", r"FILE, line 4: batch is -1"),
    (HEAD + "recipe = replace(o.recipe, bacth=1)\n", r"line 3: TypeError: .*'bacth'"),
    (HEAD + "a = replace(o.recipe.augment, flip=3)\n", r"line 3: flip must be a number from 0"),
    (HEAD + "mine = replace(o.recipe, batch=8)\n", r"no recipe 'recipe'; it has .*:mine"),
]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes my.py in an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def make(text: str) -> Path:
        Path("my.py").write_text(text)
        return Path("my.py")

    return make


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_broken_file_is_one_line_with_file_and_line(write, text, said):
    with pytest.raises(RecipeError) as caught:
        catalog.find(str(write(text)))
    assert re.search(said.replace("FILE", r"my\.py"), str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_a_file_of_zeros_is_refused(write):
    write("").write_bytes(b"\0" * 9)
    with pytest.raises(RecipeError, match=r"my\.py: SyntaxError: .*null bytes"):
        catalog.find("my.py")


def test_names_and_variants_are_found():
    assert catalog.find("oct2017") == oct2017.recipe
    assert catalog.find("oct2017:quickstart") == oct2017.quickstart
    assert next(iter(catalog.variants(catalog.shipped()["oct2017"]))) == "recipe"


def test_paths_and_their_variants_are_found(write):
    path = write(HEAD + "recipe = replace(o.recipe, batch=8)\n_odd = other = o.quickstart\n")
    assert catalog.find("my.py").batch == 8
    assert catalog.find(f"{path.absolute()}:other") == oct2017.quickstart
    assert list(catalog.variants(path)) == ["recipe", "other"]


def test_an_edit_within_the_same_second_is_seen_and_leaves_nothing_behind(write, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for batch in (8, 9):
        write(HEAD + f"recipe = replace(o.recipe, batch={batch})\n")
        assert catalog.find("my.py").batch == batch
    assert [path.name for path in Path().iterdir()] == ["my.py"]


def test_a_file_may_declare_a_task_of_its_own(write):
    write(
        "from __future__ import annotations\n" + HEAD + "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine(o.Classification):\n    depth: int = 3\n"
        "recipe = replace(o.recipe, task=Mine(classes=('a', 'b')))\n"
    )
    changed = override(catalog.find("my.py"), ["--task.depth", "4"])
    assert changed.task.depth == 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("oct2071", r"no recipe 'oct2071'; did you mean 'oct2017'\?"),
        ("zzz", "no recipe 'zzz'; `foveate recipes ls` lists them"),
        ("", "no recipe ''"),
        ("oct2017:fatihful", r"oct2017 has no recipe 'fatihful'; did you mean 'faithful'\?"),
        ("oct2017:", "oct2017 has no recipe ''; it has oct2017:recipe, oct2017:faithful"),
        ("nofile.py", "no recipe file nofile.py; `foveate recipes cp"),
        ("no/folder", "no recipe file no/folder"),
        ("./", "no recipe file"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(name, said):
    with pytest.raises(RecipeError, match=said):
        catalog.find(name)


def test_a_copy_is_the_same_recipe_and_overwrites_nothing(write):
    path = catalog.copy("oct2017:faithful", Path("mine.py"))
    assert catalog.find(f"{path}:faithful") == oct2017.faithful
    assert catalog.copy("mine.py", Path("again.py")).exists()
    with pytest.raises(RecipeError, match=r"mine\.py is there already"):
        catalog.copy("oct2017", Path("mine.py"))
    with pytest.raises(RecipeError, match=r"does not end with \.py"):
        catalog.copy("oct2017", Path("mine"))
    assert catalog.copy("oct2017", Path()) == Path("oct2017.py")
