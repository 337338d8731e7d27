"""Two runs held against each other, on runs that were really trained."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from pictures import small_recipe, write_pictures

from foveate.engine.cli import main
from foveate.engine.fit import fit
from foveate.engine.report import comparison
from foveate.engine.report.comparison import compare_runs, mcnemar, paired, unpaired
from foveate.engine.report.side_by_side import describe_comparison
from foveate.engine.run.folder import read_json


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """one, again (the same recipe), other (another seed), elsewhere (other images), stopped."""
    here = tmp_path_factory.mktemp("runs")
    write_pictures(here / "data")
    write_pictures(here / "less", train=16, test=8)
    recipe = small_recipe(here / "data", epochs=1, ema=0)
    fit(recipe, out=here / "one")
    fit(recipe, out=here / "again")
    fit(replace(recipe, seed=1), out=here / "other")
    fit(small_recipe(here / "less", epochs=1, ema=0), out=here / "elsewhere")
    shutil.copytree(here / "one", here / "stopped")
    (here / "stopped/receipt.json").unlink()
    return here


def write_rows(folder: Path, right: list[bool], split: str = "test") -> Path:
    """Rows of a two-class run that got these images right."""
    label = torch.arange(len(right)) % 2
    guess = torch.where(torch.tensor(right), label, 1 - label)
    rows = {
        "index": torch.arange(len(right)),
        "label": label,
        "logits": torch.nn.functional.one_hot(guess, 2).float(),
    }
    (folder / "evidence").mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(rows, folder / "evidence" / f"rows-{split}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("n10", "n01", "p"),
    [(0, 0, 1), (5, 5, 1), (0, 1, 1), (0, 5, 0.0625), (1, 9, 22 / 1024), (9, 1, 22 / 1024)],
)
def test_mcnemar_gives_the_values_worked_out_by_hand(n10, n01, p):
    assert mcnemar(n10, n01) == p


def test_mcnemar_is_scipys_binomial_test():
    stats = pytest.importorskip("scipy.stats")
    for n10, n01 in [(3, 12), (40, 61), (7, 8), (0, 30), (1000, 1100)]:
        theirs = stats.binomtest(n10, n10 + n01, 0.5).pvalue
        assert math.isclose(mcnemar(n10, n01), theirs, rel_tol=1e-9)


def test_mcnemar_takes_a_whole_training_set_of_disagreements():
    assert mcnemar(40_000, 40_000) == 1
    assert 0 <= mcnemar(10_000, 30_000) < 1e-300


def test_only_images_that_the_runs_disagree_on_count(tmp_path):
    one = write_rows(tmp_path / "one", [True] * 10 + [True] * 2 + [False] * 6 + [False] * 2)
    other = write_rows(tmp_path / "other", [True] * 10 + [False] * 2 + [True] * 6 + [False] * 2)
    found = paired(one, other, "test")
    assert found == {
        "images": 20,
        "n10": 2,
        "n01": 6,
        "p": 2 * (1 + 8 + 28) / 256,
        "difference": 0.2,
    }


def test_the_unpaired_interval_is_newcombes():
    one, other = ({"images": 70, "wrong": 14}, {"images": 80, "wrong": 32})  # his 56/70, 48/80
    found = unpaired(one, other, "why")
    assert [round(-found[name], 4) for name in ("high", "low")] == [0.0524, 0.3339]
    assert unpaired({"map": 0.5}, other, "why") == {"why": "why"}


def test_the_same_recipe_twice_differs_in_nothing_but_time(runs):
    answer = compare_runs(runs / "one", runs / "again")
    assert answer["recipe"] == answer["plan"] == answer["identity"] == []
    assert answer["weights"]["equal"] and answer["scored_weights_equal"]
    assert answer["scores"]["test"]["paired"] == {
        "images": 9,
        "n10": 0,
        "n01": 0,
        "p": 1.0,
        "difference": 0.0,
    }
    assert "bit-equal" in describe_comparison(answer)


def test_another_seed_is_paired_on_the_test_images_and_not_on_those_it_held_out(runs):
    answer = compare_runs(runs / "one", runs / "other")
    assert answer["recipe"] == ["seed: 0 -> 1"]
    assert not answer["weights"]["equal"]
    assert answer["scores"]["test"]["paired"]["images"] == 9
    assert answer["scores"]["val"]["unpaired"]["why"] == "different images were held out"


def test_pairs_agree_with_the_scores_of_the_receipts(runs):
    scores = compare_runs(runs / "one", runs / "other")["scores"]["test"]
    difference = scores["other"]["accuracy"] - scores["one"]["accuracy"]
    assert math.isclose(scores["paired"]["difference"], difference, abs_tol=1e-12)


def test_other_images_are_never_paired(runs):
    answer = compare_runs(runs / "one", runs / "elsewhere")
    assert not answer["same_data"]
    for scores in answer["scores"].values():
        assert "paired" not in scores and "different data" in scores["unpaired"]["why"]
    assert "train_images: 18 -> 12" in answer["plan"]


def test_a_stopped_run_is_compared_by_recipe_and_plan(runs):
    answer = compare_runs(runs / "stopped", runs / "other")
    assert answer["recipe"] == ["seed: 0 -> 1"] and "scores" not in answer
    assert describe_comparison(answer).endswith("one is not finished")


@pytest.mark.parametrize("harm", ["missing", "torn", "relabelled", "detector"])
def test_rows_that_cannot_be_paired_are_said_and_compared_unpaired(runs, tmp_path, harm):
    hurt = shutil.copytree(runs / "other", tmp_path / "hurt")
    path = hurt / "evidence/rows-test.safetensors"
    rows = safetensors.torch.load_file(path)
    if harm == "missing":
        path.unlink()
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:40])
    else:
        changed = {"label": 1 - rows["label"]} if harm == "relabelled" else {"boxes": rows["label"]}
        kept = {} if harm == "detector" else rows
        safetensors.torch.save_file(kept | changed, path)
    found = compare_runs(runs / "one", hurt)["scores"]["test"]["unpaired"]
    said = {"missing": "not there", "torn": "cannot be read", "relabelled": "different labels"}
    assert said.get(harm, "no answers of a classifier") in found["why"]
    assert found["low"] <= found["difference"] <= found["high"]


def test_packages_and_machines_that_differ_are_named(runs, tmp_path):
    moved = shutil.copytree(runs / "one", tmp_path / "moved")
    receipt = read_json(moved / "receipt.json")
    receipt["identity"] |= {"cpu": "another", "load": 99}
    receipt["identity"]["packages"]["numpy"] = "0.1"
    (moved / "receipt.json").write_text(json.dumps(receipt))
    names = [line.split(":")[0] for line in compare_runs(runs / "one", moved)["identity"]]
    assert names == ["cpu", "packages.numpy"]


def test_the_page_is_100_columns_wide_and_the_json_is_what_it_says(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert main(["runs", "show", "one", "other"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 100
    assert "seed: 0 -> 1" in page and "McNemar" in page
    assert main(["runs", "show", "one", "other", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(json.dumps(compare_runs(Path("one"), Path("other"))))
    assert said["format"] == comparison.FORMAT


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["one", "data"], 10, "data is no run folder"),
        (["data", "one"], 10, "data is no run folder"),
        (["one", "other", "--json", "no/x.json"], 50, "there is no folder"),
        (["one", "other", "again"], 2, "one word too many"),
    ],
)
def test_a_mistake_is_one_line(runs, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(runs)
    assert main(["runs", "show", *words]) == code
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and not told.out


def test_one_run_as_json_is_its_receipt_or_how_far_it_is(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert main(["runs", "show", "one", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == read_json(runs / "one/receipt.json")
    assert main(["runs", "show", "stopped", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"
    assert main(["runs", "show", "stopped"]) == 0
    assert "goes on" in capsys.readouterr().out
