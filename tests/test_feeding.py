"""Runs over every feed: the same weights, whichever it is, and whenever it changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from damage import hurt_files
from pictures import small_recipe, write_pictures
from test_fit import Killed, stop_at

from foveate.dataloaders.errors import DataError
from foveate.engine.fit import fit
from foveate.engine.recipe import recipe_hash


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), train=48)


def fed(root, feed: str, **data: object):
    recipe = small_recipe(root)
    return replace(recipe, data=replace(recipe.data, feed=feed, **data))


@pytest.fixture(scope="module")
def packed(root, tmp_path_factory):
    return fit(fed(root, "pack"), out=tmp_path_factory.mktemp("run") / "pack")


@pytest.mark.parametrize("feed", ["stream", "resident", "auto"])
def test_a_run_has_the_same_hash_weights_and_scores_over_every_feed(root, packed, tmp_path, feed):
    assert recipe_hash(fed(root, feed)) == packed.recipe_hash
    receipt = fit(fed(root, feed), out=tmp_path / "run")
    assert receipt.weights_sha256 == packed.weights_sha256
    assert receipt.scores == packed.scores
    assert receipt.data["feed"].startswith("pack" if feed == "auto" else feed)


@pytest.mark.parametrize(("first", "then"), [("stream", "pack"), ("pack", "stream")])
def test_a_run_goes_on_over_another_feed(root, packed, tmp_path, monkeypatch, first, then):
    with monkeypatch.context() as patch:
        stop_at(patch, 5, Killed())
        with pytest.raises(Killed):
            fit(fed(root, first), out=tmp_path / "run")
    receipt = fit(fed(root, then), out=tmp_path / "run")
    assert receipt.weights_sha256 == packed.weights_sha256 and receipt.scores == packed.scores


def test_damage_that_a_stream_meets_is_listed_and_costs_nothing(tmp_path):
    root = write_pictures(tmp_path / "pictures", train=96)
    hurt_files(list((root / "train").rglob("*.jpeg")), 1, seed=3)
    receipts = [fit(fed(root, feed), out=tmp_path / feed) for feed in ("stream", "pack")]
    streamed, packed = receipts
    assert streamed.data["quarantined"] == packed.data["quarantined"] != []
    assert streamed.weights_sha256 == packed.weights_sha256
    assert streamed.scores == packed.scores


def test_balance_window_and_reduction_are_other_runs(root, packed, tmp_path):
    hashes = {packed.recipe_hash}
    for changes in ({"balance": "classes"}, {"shuffle_window": 16}, {"reduce": 40}):
        recipe = fed(root, "auto", **changes)
        hashes.add(recipe_hash(recipe))
        receipt = fit(recipe, out=tmp_path / "-".join(changes))
        already = "balance" in changes  # the classes are equally large: nothing is repeated
        assert (receipt.weights_sha256 == packed.weights_sha256) == already
    assert len(hashes) == 4


def test_a_pack_that_fits_no_memory_is_not_made_resident(root, tmp_path, monkeypatch):
    monkeypatch.setattr("foveate.dataloaders.feed.choose.MEMORY_SHARE", 1e-9)
    with pytest.raises(DataError, match=r"data.feed is resident.*--data.feed pack"):
        fit(fed(root, "resident"), out=tmp_path / "run")
