"""What is in two splits is found before training and stamped on everything that is said after."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import hurt_files
from pictures import draw, small_recipe, write_pictures
from PIL import Image

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.split.hold_out import duplicates_across, hold_out
from foveate.engine.cli import main
from foveate.engine.fit import fit
from foveate.engine.recipe import Recipe
from foveate.engine.run import listing
from foveate.engine.run.console import Logged
from foveate.engine.run.leaks import Leaks


def write_apart(root: Path, train: int = 40, test: int = 8) -> Path:
    """As `write_pictures`, and no test picture is one of the train folder."""
    write_pictures(root, train, test)
    for number, path in enumerate(sorted((root / "test").rglob("*.jpeg"))):
        label = int(path.parent.name == "steep")
        Image.fromarray(draw(label, 1000 + number)[:, :, 0]).save(path, quality=90)
    return root


def test_the_same_bytes_are_counted_once_for_each_image_that_is_scored():
    sha256 = np.zeros((6, 32), np.uint8)
    sha256[:, 31] = [1, 2, 1, 3, 2, 2]  # differ in the last byte alone; the rest is zero
    members = {"train": [0, 1], "val": [2, 3], "test": [4, 5]}
    found = duplicates_across(sha256, {k: np.array(v) for k, v in members.items()})
    assert found == {"train and val": 1, "train and test": 2}
    members["test"] = []
    found = duplicates_across(sha256, {k: np.array(v, np.int64) for k, v in members.items()})
    assert found == {"train and val": 1, "train and test": 0}


def test_a_leak_is_said_in_one_sentence_and_none_is_not_said():
    pairs = {"train and val": 0, "train and test": 0}
    assert Leaks(None, pairs).say("test") == Leaks(pairs, pairs).say("val") == ""
    said = Leaks(pairs | {"train and test": 12}, pairs | {"train and test": 3}).say("test")
    assert said == (
        "LEAK: 12 patients (groups) are in both train and test and 3 test images are byte for "
        "byte in train too: the test score is too high"
    )


def test_a_cut_by_groups_that_splits_one_does_not_train(tmp_path, monkeypatch):
    recipe = small_recipe(write_pictures(tmp_path))
    recipe = replace(recipe, data=replace(recipe.data, split="group"))

    def broken(manifest, members, by, share, seed):
        return hold_out(manifest, members, "label", share, seed)

    assert listing.list_data(recipe, Logged()).overlaps["train and val"] == 0
    monkeypatch.setattr(listing, "hold_out", broken)
    with pytest.raises(DataError, match="left a patient on both sides"):
        listing.list_data(recipe, Logged())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run by label with a patient and a picture in train and test, and a clean one by groups."""
    folder = tmp_path_factory.mktemp("runs")
    root = write_apart(folder / "set")
    shutil.copytree(root, folder / "leaky")
    leaky = folder / "leaky"
    copied = next((leaky / "train/flat").iterdir())  # another name, and a patient of train
    shutil.copy(copied, leaky / "test/flat/flat-103-99.jpeg")
    recipes = {
        "leaky": small_recipe(leaky),
        "clean": _by_groups(small_recipe(root)),
        "unknown": _without_pattern(small_recipe(root)),
    }
    for name, recipe in recipes.items():
        fit(replace(recipe, epochs=1.0), out=folder / f"run-{name}")
    return folder


def _by_groups(recipe: Recipe) -> Recipe:
    return replace(recipe, data=replace(recipe.data, split="group"))


def _without_pattern(recipe: Recipe) -> Recipe:
    return replace(recipe, data=replace(recipe.data, group=""))


def test_verdict_receipt_and_report_carry_the_stamp(runs):
    receipt, page = ((runs / f"run-leaky/{name}").read_text() for name in
                     ("receipt.json", "report.html"))  # fmt: skip
    for text in (receipt, page):
        assert "LEAK: 1 patients (groups) are in both train and test and 1 test images" in text
    assert "1 train and test: scores are too high where a patient is in two splits" in page
    assert "1 train and test: scores are too high where a picture is in two splits" in page
    clean = (runs / "run-clean/report.html").read_text()
    assert "LEAK" not in clean and "scores are too high where" not in clean


def test_where_nothing_says_whose_an_image_is_no_overlap_is_claimed(runs):
    page = (runs / "run-unknown/report.html").read_text()
    assert "not checked: nothing says which patient an image is of" in page


def test_leaky_and_leak_free_scores_stand_side_by_side(runs, capsys):
    assert main(["runs", "show", str(runs / "run-leaky"), str(runs / "run-clean")]) == 0
    page = capsys.readouterr().out
    block = page[page.index("split and leaks") :]
    rows = {line.strip()[:20].strip(): line.split()[-2:] for line in block.splitlines() if line}
    assert rows["split by"] == ["label", "group"] and rows["patients test"] == ["1", "0"]
    assert rows["same files test"] == ["1", "0"]
    assert int(rows["patients val"][0]) > 0 == int(rows["patients val"][1])
    assert "believe the scores of other" in block and page.count("accuracy") >= 4
    assert main(["runs", "show", str(runs / "run-leaky"), str(runs / "run-unknown")]) == 0
    assert "believe" not in capsys.readouterr().out  # nobody looked at its patients


def test_training_goes_through_damage_and_lists_all_of_it_by_hash_and_reason(tmp_path):
    root = write_apart(tmp_path / "set", train=204, test=16)
    assert main(["data", "verify", str(root), "--record", "-q"]) == 0
    hurts = hurt_files(list((root / "train").rglob("*.jpeg")), 6)
    recipe = replace(small_recipe(root), epochs=0.2)
    one, other = (fit(recipe, out=tmp_path / name) for name in ("one", "other"))
    listed = one.data["quarantined"]
    wanted = {hashlib.sha256(path.read_bytes()).hexdigest() for path in hurts}
    assert {line["sha256"] for line in listed} == wanted
    assert {line["reason"] for line in listed} == {"contents differ from the record"}
    assert one.weights_sha256 == other.weights_sha256  # what stands in for them is no accident
    hurt_files(list((root / "train").rglob("*.jpeg")), 30, seed=1)
    assert main(["data", "verify", str(root), "-q"]) == 20
    with pytest.raises(DataError, match="limit 5%"):
        fit(recipe, out=tmp_path / "third")


@pytest.mark.parametrize("group", ["", r"^zzz(\d)"])
def test_a_cut_by_patients_of_whom_none_is_known_does_not_train(tmp_path, group):
    recipe = small_recipe(write_pictures(tmp_path / "pictures"))
    recipe = replace(recipe, data=replace(recipe.data, split="group", group=group))
    with pytest.raises(DataError, match=r"nothing says whose an image is: give --data.group"):
        listing.list_data(recipe, Logged())


def test_images_of_nobody_known_are_counted_in_a_cut_by_patients(tmp_path):
    recipe = small_recipe(write_pictures(tmp_path / "pictures"))
    recipe = replace(recipe, data=replace(recipe.data, split="group", group=r"flat-(\d+)-"))
    found = listing.list_data(recipe, Logged()).differences
    assert any("16 of 33 images are of nobody known" in line for line in found), found


def test_a_stream_stamps_copies_once_it_has_read_every_file(tmp_path):
    root = write_pictures(tmp_path / "pictures")
    receipts = []
    for feed in ("pack", "stream"):
        recipe = small_recipe(root)
        recipe = replace(recipe, data=replace(recipe.data, feed=feed))
        receipts.append(fit(recipe, out=tmp_path / feed))
    packed, streamed = receipts
    assert streamed.data["copies_across"] == packed.data["copies_across"]
    assert streamed.verdict == packed.verdict and "LEAK" in streamed.verdict
