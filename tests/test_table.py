"""Split tables: written by `data split`, trained on, and refused where a line is wrong."""

from __future__ import annotations

import stat
from dataclasses import replace

import numpy as np
import pytest
from pictures import small_recipe, write_pictures

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.split.table import hash_table, read_table, write_table
from foveate.engine.cli import main
from foveate.engine.failure import RecipeError
from foveate.engine.fit import fit
from foveate.engine.plan import this_machine
from foveate.engine.recipe import Recipe, recipe_hash
from foveate.engine.run.console import Logged
from foveate.engine.run.listing import list_data
from foveate.engine.run.prepare import prepare
from foveate.engine.verify.splitting import split

PARTS = "--parts train=0.5 val=0.25 test=0.25"


@pytest.fixture
def root(tmp_path):
    return write_pictures(tmp_path / "pictures", train=48, test=0)


def cut(root, *words: str, out: str = "split.csv") -> int:
    path = str(root.parent / out)
    return main(["data", "split", str(root), *PARTS.split(), "--out", path, *words])


def by_table(root, **changes: object) -> Recipe:
    recipe = small_recipe(root)
    table = str(root.parent / "split.csv")
    return replace(recipe, data=replace(recipe.data, split="table", table=table, **changes))


def test_a_run_trains_on_the_table_that_split_wrote(root, capsys):
    assert cut(root, "--by", r"-(\d+)-", "--stratify") == 0
    page = capsys.readouterr().out
    assert "48 images of 12 patients (groups), none in two parts" in page
    assert stat.S_IMODE((root.parent / "split.csv").stat().st_mode) == 0o600
    recipe = by_table(root)
    listing = list_data(recipe, Logged())
    assert set(listing.overlaps.values()) == {0} and listing.grouped
    table = read_table(root.parent / "split.csv")
    for name, members in listing.members.items():
        assert {table.part[listing.manifest.files[n]] for n in members} == {name}
    receipt = fit(recipe, out=root.parent / "run")
    assert sum(sum(c.values()) for c in receipt.data["counts"].values()) == 48
    assert receipt.data["split"] == "table" and "LEAK" not in receipt.verdict
    assert receipt.scores["test"]["images"] == len(listing.members["test"])


def test_the_same_words_write_the_same_table_and_another_seed_another(root):
    tables = []
    for name, seed in (("one", "5"), ("two", "5"), ("other", "6")):
        assert cut(root, "--by", r"-(\d+)-", "--seed", seed, out=name) == 0
        tables.append((root.parent / name).read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_contents_decide_the_recipe_hash_and_the_place_does_not(root):
    cut(root, "--by", r"-(\d+)-")
    here = root.parent / "split.csv"
    moved = here.rename(root.parent / "moved.csv")
    here.write_bytes(moved.read_bytes())
    recipe = by_table(root)
    before = recipe_hash(recipe)
    assert recipe_hash(replace(recipe, data=replace(recipe.data, table=str(moved)))) == before
    lines = here.read_text().splitlines()
    here.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert recipe_hash(recipe) == before and hash_table(here) == hash_table(moved)
    here.write_text("\n".join([*lines[:-1], lines[-1].replace("train,", "val,", 1)]))
    cut(root, "--by", r"-(\d+)-", "--seed", "9")
    assert recipe_hash(recipe) != before


def test_groups_come_from_a_table_where_names_do_not_tell(root):
    files = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.jpeg"))]
    whose = {name: f"doe-{n // 6}" for n, name in enumerate(files)}
    path = root.parent / "whose.csv"
    path.write_text("path,group\n" + "".join(f"{n},{g}\n" for n, g in whose.items()))
    recipe = small_recipe(root)
    data = replace(recipe.data, group="", table=str(path), split="group", need_test=False)
    listing = list_data(replace(recipe, data=data), Logged())
    assert listing.manifest.group.tolist() == [whose[n] for n in listing.manifest.files]
    assert listing.overlaps["train and val"] == 0
    assert cut(root, "--by", str(path)) == 0
    assert read_table(root.parent / "split.csv").group == whose


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,part\nx,train\n", "needs the columns path and part"),
        ("path,part\njones.jpeg,train\njones.jpeg,val\n", "line 3 repeats a path"),
        ("path,part\njones.jpeg,fold1\n", "line 2: the part is none of train, val, test"),
        ("path,part\n,train\n", "line 2 has no path"),
        ("path,part\njones.jpeg,train\n", "48 of 48 images .* are not in"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line_and_without_a_name(root, text, words):
    (root.parent / "split.csv").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        list_data(by_table(root), Logged())
    assert "jones" not in str(error.value) and "\n" not in str(error.value)


def test_a_table_that_is_asked_for_must_be_named_and_there(root):
    with pytest.raises(RecipeError, match=r"give --data.table"):
        replace(small_recipe(root).data, split="table")
    with pytest.raises(DataError, match="cannot read table"):
        list_data(by_table(root), Logged())


def test_lines_for_files_that_are_gone_are_said(root):
    cut(root, "--by", r"-(\d+)-")
    next(root.rglob("*.jpeg")).unlink()
    assert (
        "1 lines of the split table name files that are not there"
        in list_data(by_table(root), Logged()).differences
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--by", "no parenthesis"], 20, "has no parenthesis"),
        (["--by", "(nobody)"], 20, "finds no patient for any of 48 images"),
        (["--parts", "train=0.5", "val=0.6"], 2, "add up to 1"),
        (["--parts", "train=0.5", "fold=0.5"], 2, "write train"),
        (["--by", "^(flat|steep)"], 20, "would have no image of class"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_in_one_line(root, capsys, words, code, said):
    assert cut(root, *words) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_plain_folder_without_classes_is_cut_as_well(tmp_path):
    root = write_pictures(tmp_path / "p", train=10, test=0) / "train" / "flat"
    found, said = split(root, "", {"train": 0.6, "test": 0.4}, True, 0, tmp_path / "s.csv")
    assert np.array_equal(found.counts, [[3], [2]]) and said["matched"] == 0


def test_what_is_written_is_read_again(tmp_path):
    rows = [('a "b",c\n.jpeg', "train", "p1"), ("d.jpeg", "val", "p2")]
    write_table(tmp_path / "t.csv", rows)
    table = read_table(tmp_path / "t.csv")
    assert [(n, table.part[n], table.group[n]) for n in table.part] == rows


def weigh(root, weight_of) -> Recipe:
    """A recipe that draws by a table's weights."""
    lines = [f"{path.relative_to(root)},{weight_of(path)}" for path in root.rglob("*.jpeg")]
    (root.parent / "weights.csv").write_text("path,weight\n" + "\n".join(lines) + "\n")
    recipe = small_recipe(root)
    table = str(root.parent / "weights.csv")
    return replace(recipe, data=replace(recipe.data, need_test=False, table=table, balance="table"))


def test_images_come_as_often_as_their_weights_in_the_table_say(root):
    recipe = weigh(root, lambda path: 3 if "steep" in path.name else 1)
    listing = list_data(recipe, Logged())
    prepared = prepare(recipe, listing, this_machine(), Logged(), "stream")
    labels = prepared.feed("train", recipe).peek(0, 3600).target["label"]
    assert abs(labels.double().mean() - 0.75) < 0.01
    plain = replace(recipe, data=replace(recipe.data, balance="classes", table=""))
    assert recipe_hash(plain) != recipe_hash(recipe)
    labels = prepared.feed("train", plain).peek(0, 3600).target["label"]
    assert abs(labels.double().mean() - 0.5) < 0.01


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "much", ""])
def test_a_weight_that_is_none_is_refused_by_its_line(root, weight):
    recipe = weigh(root, lambda path: weight)
    with pytest.raises(DataError, match="line 2: the weight is no number above 0"):
        list_data(recipe, Logged())


def test_a_balance_by_a_table_without_weights_is_refused(root):
    cut(root)
    recipe = small_recipe(root)
    with pytest.raises(RecipeError, match=r"data.table .*FILE.csv"):
        replace(recipe, data=replace(recipe.data, balance="table"))
    table = str(root.parent / "split.csv")
    recipe = replace(
        recipe,
        data=replace(recipe.data, need_test=False, split="table", balance="table", table=table),
    )
    with pytest.raises(DataError, match="no column 'weight'"):
        list_data(recipe, Logged())


def test_a_table_whose_parts_would_be_passed_over_is_refused(root):
    cut(root)
    recipe = by_table(root, need_test=False)
    recipe = replace(recipe, data=replace(recipe.data, split="label"))
    with pytest.raises(DataError, match=r"give --data.split table, or a table without the column"):
        list_data(recipe, Logged())


def test_a_cut_is_not_written_over_another_one(root, capsys):
    assert cut(root) == 0 and cut(root) == 0
    before = (root.parent / "split.csv").read_bytes()
    assert cut(root, "--seed", "7") == 20
    assert "is there and is not this cut" in capsys.readouterr().err
    assert (root.parent / "split.csv").read_bytes() == before
