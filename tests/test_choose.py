"""Which feed a run gets: what fits, what was asked for, and why in words."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from trees import list_tree, write_tree

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.feed.choose import Survey, choose_feed, survey
from foveate.dataloaders.pack.build import find_or_build, pack_folder, unfinished

GB = 10**9
SMALL = Survey(images=2000, pack_bytes=GB, is_packed=False, disk_free=40 * GB, image_s=1e-3)


def choose(found: Survey, asked: str = "auto", **words: object) -> tuple[str, str]:
    machine = {"threads": 2, "memory": 24 * GB} | words
    return choose_feed(asked, found, **machine)


@pytest.mark.parametrize(
    ("found", "words", "mode", "why"),
    [
        (SMALL, {}, "pack", "1.0 GB .*-mapped; decoded once, at 2,000 images/s with 2 th"),
        (replace(SMALL, is_packed=True), {}, "pack", "lie in the cache already"),
        (
            replace(SMALL, disk_free=GB),
            {},
            "stream",
            "take 1.0 GB and 1.0 GB are free.*--data.re",
        ),
        (replace(SMALL, disk_free=1, is_packed=True), {}, "pack", "already"),
        (SMALL, {"card": 24 * GB}, "resident", "1.0 GB of decoded pixels fit in 24.0 GB"),
        (SMALL, {"card": GB}, "pack", "memory-mapped"),
        (
            replace(SMALL, pack_bytes=30 * GB),
            {},
            "pack",
            "larger than memory: --data.shuffle-w",
        ),
    ],
)
def test_auto_takes_the_fastest_that_fits_and_says_why(found, words, mode, why):
    chosen, said = choose(found, **words)
    assert chosen == mode and re.search(why, said), said


def test_what_was_asked_for_is_done_unless_it_cannot_fit():
    for asked in ("pack", "stream", "resident"):
        assert choose(SMALL, asked) == (asked, "asked for")
    with pytest.raises(DataError, match=r"1.0 GB of pixels do not fit 60% of 1.0 GB .*--data.feed"):
        choose(SMALL, "resident", memory=GB)


def test_a_survey_measures_what_a_pack_then_takes(tmp_path):
    manifest = list_tree(write_tree(tmp_path / "tree", train=12, test=2))
    for side in (0, 48):
        before = survey(manifest, tmp_path / "cache", side)
        pack = find_or_build(manifest, tmp_path / "cache", 2, side=side)
        after = survey(manifest, tmp_path / "cache", side)
        assert not before.is_packed and 0 < before.image_s < 1 and before.disk_free > 0
        assert abs(before.pack_bytes / pack.pixels.nbytes - 1) < 0.01
        assert after.is_packed and abs(after.pack_bytes - pack.pixels.nbytes) < 1000


def test_a_pack_that_was_begun_is_not_given_up_for_the_bytes_it_has_taken(tmp_path, monkeypatch):
    manifest = list_tree(write_tree(tmp_path / "tree", train=12, test=2))
    whole = survey(manifest, tmp_path)
    taken = whole.pack_bytes // 2
    begun = unfinished(pack_folder(manifest, tmp_path))
    begun.mkdir(parents=True)
    (begun / "pixels.npy").write_bytes(bytes(taken))
    left = shutil._ntuple_diskusage(0, 0, int(whole.pack_bytes * 1.2) - taken)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: left)
    assert choose(survey(manifest, tmp_path))[0] == "pack"
