"""Building packs: whole or not there, whatever happens, and nothing done twice after a kill."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupted import at_step, fingerprint
from test_pack import fingerprint_of_a_clean_build, fragile, image, pack, refuse, root
from trees import list_tree

from foveate.dataloaders import sources
from foveate.dataloaders.errors import DataError, StorageError
from foveate.dataloaders.pack import build as packing
from foveate.dataloaders.pack import writer as writing
from foveate.dataloaders.pack.build import estimate_bytes, find_or_build
from foveate.dataloaders.pack.shelf import check_pack, list_packs, remove_pack
from foveate.kernels.shrink import shrink

__all__ = ["fragile", "pack", "root"]  # fixtures
HERE = Path(__file__).resolve().parent


def interrupted(how: str, root: Path, cache: Path) -> dict:
    """What a process of its own saw while it killed builds."""
    words = [sys.executable, str(HERE / "interrupted.py"), how, str(root), str(cache)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_at_any_step_leaves_nothing_and_one_line(root, tmp_path, code):
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    manifest = list_tree(root)
    with at_step(0, fail) as steps:
        find_or_build(manifest, tmp_path / "calm", 2)
    assert len(steps) > 20 and steps[-1] == "open_pack"
    for number, step in enumerate(steps[:-1], 1):
        cache = tmp_path / str(number)
        with at_step(number, fail):
            refuse(StorageError, "cannot write pack", "free space", manifest=manifest, cache=cache)
        renamed = "rename" in steps[: number - 1]
        assert bool(fingerprint(cache)) == renamed, step
        assert not list(cache.glob("packs/*.building"))


def test_a_file_system_that_takes_no_more_bytes_leaves_nothing(root, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 100, 50_000, 300_000):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            refuse(StorageError, "File too large", manifest=list_tree(root), cache=tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.suffix for path in (tmp_path / "packs").iterdir()] == [".lock"]


def test_a_system_that_takes_writes_in_parts_gets_every_byte_once(root, tmp_path, monkeypatch):
    find_or_build(list_tree(root), tmp_path / "calm", 2)
    whole, sizes = os.pwritev, itertools.cycle((1, 4097, 70_000))

    def part(handle: int, arrays: list[memoryview], at: int) -> int:
        return whole(handle, [b"".join(arrays)[: next(sizes)]], at)

    monkeypatch.setattr(os, "pwritev", part)
    monkeypatch.setattr(writing, "POUR_BYTES", 300_000)
    find_or_build(list_tree(root), tmp_path / "parts", 2)
    assert fingerprint(tmp_path / "parts") == fingerprint(tmp_path / "calm") != {}


def test_a_write_that_was_broken_off_is_done_again_in_the_same_place(root, tmp_path, monkeypatch):
    find_or_build(list_tree(root), tmp_path / "calm", 2)
    whole, calls = os.pwritev, itertools.count()

    def broken(handle: int, arrays: list[memoryview], at: int) -> int:
        taken = whole(handle, arrays[:1], at)
        if next(calls) == 3:
            raise KeyboardInterrupt
        return taken

    monkeypatch.setattr(os, "pwritev", broken)
    monkeypatch.setattr(writing, "POUR_BYTES", 300_000)
    with pytest.raises(KeyboardInterrupt):
        find_or_build(list_tree(root), tmp_path / "broken", 2)
    find_or_build(list_tree(root), tmp_path / "broken", 2)
    assert fingerprint(tmp_path / "broken") == fingerprint(tmp_path / "calm") != {}


def test_a_disk_too_small_is_seen_before_the_first_image(root, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    refuse(StorageError, "needs about", "larger disk", manifest=list_tree(root), cache=tmp_path)


def test_the_estimate_is_near_the_truth_and_survives_bad_files(root, pack):
    manifest = list_tree(root)
    assert 0.9 < estimate_bytes(manifest) / pack.pixels.nbytes < 1.2
    assert estimate_bytes(replace(manifest, root=root / "gone")) == 0


def test_a_header_that_lies_about_its_size_moves_no_estimate(root, tmp_path):
    bad = tmp_path / "tree"
    shutil.copytree(root, bad)
    honest = estimate_bytes(list_tree(bad))
    name = next(n for n in list_tree(bad).files if n.lower().endswith((".jpg", ".jpeg")))
    data = (bad / name).read_bytes()
    place = data.index(b"\xff\xc0") + 5
    (bad / name).write_bytes(data[:place] + b"\x33\x33\x33\x33" + data[place + 4 :])
    assert estimate_bytes(list_tree(bad)) < 1.2 * honest


def test_a_cache_that_cannot_be_written_gives_one_line(root, tmp_path):
    (tmp_path / "file").write_text("")
    words = ("Not a directory", "set FOVEATE_CACHE")
    refuse(StorageError, *words, manifest=list_tree(root), cache=tmp_path / "file")


def test_a_process_that_gets_no_lock_leaves_another_ones_work_alone(root, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    manifest = list_tree(root)
    work = packing.unfinished(packing.pack_folder(manifest, tmp_path))
    work.mkdir(parents=True)
    monkeypatch.setattr(packing.fcntl, "flock", fail)
    refuse(StorageError, "No locks available", manifest=manifest, cache=tmp_path)
    assert work.exists()


def stop_after(count: int, error: BaseException) -> Callable[[int, int], None]:
    """A progress function that ends the build after `count` images."""

    def stop(done: int, _: int) -> None:
        if done == count:
            raise error

    return stop


def test_ctrl_c_keeps_what_was_done_and_the_next_build_goes_on(root, tmp_path, monkeypatch):
    manifest, spoken, read = list_tree(root), [], []
    with pytest.raises(KeyboardInterrupt):
        find_or_build(manifest, tmp_path, 2, stop_after(3, KeyboardInterrupt()))
    assert fingerprint(tmp_path) == {}
    whole = sources.load_file
    monkeypatch.setattr(sources, "load_file", lambda m, n, s: read.extend(n) or whole(m, n, s))
    find_or_build(manifest, tmp_path, 2, say=spoken.append)
    assert sorted(read) == list(range(3, 10))
    assert spoken[-1] == "going on with the pack after 3 of 10 images"
    assert fingerprint(tmp_path) == fingerprint_of_a_clean_build(root)
    assert not list(tmp_path.glob("packs/*.building"))


@pytest.mark.parametrize(
    "hurt", ["torn line", "lost pixels", "nonsense", "no journal", "spare", "format"]
)
def test_an_unfinished_pack_that_was_hurt_is_taken_up_where_it_can_be(root, tmp_path, hurt):
    manifest = list_tree(root)
    with pytest.raises(KeyboardInterrupt):
        find_or_build(manifest, tmp_path, 2, stop_after(6, KeyboardInterrupt()))
    work = packing.unfinished(packing.pack_folder(manifest, tmp_path))
    journal, pixels = work / "journal.jsonl", work / "pixels.npy"
    if hurt == "torn line":
        os.truncate(journal, journal.stat().st_size - 30)
    elif hurt == "lost pixels":
        os.truncate(pixels, 500)
    elif hurt == "nonsense":
        journal.write_text("[]\n")
    elif hurt == "format":
        journal.write_text(journal.read_text().replace('"format": ', '"format": 9'))
    elif hurt == "no journal":
        journal.unlink()
    else:
        pixels.write_bytes(pixels.read_bytes() + b"more" * 999)
    find_or_build(manifest, tmp_path, 2)
    assert fingerprint(tmp_path) == fingerprint_of_a_clean_build(root)


def test_a_source_that_cannot_be_opened_for_once_costs_nothing_that_was_done(fragile, tmp_path):
    root, hurt = fragile
    manifest, spoken = list_tree(root), []
    number = manifest.files.index(hurt.relative_to(root).as_posix())
    hurt.rename(hurt.with_suffix(".away"))
    refuse(DataError, "cannot be opened", manifest=manifest, cache=tmp_path)
    hurt.with_suffix(".away").rename(hurt)
    find_or_build(manifest, tmp_path, 2, say=spoken.append)
    assert number == 0 or f"after {number} of" in spoken[-1]


def test_a_reduced_pack_has_the_asked_shorter_side_and_a_place_of_its_own(root, pack):
    cache = pack.folder.parent.parent
    small = find_or_build(list_tree(root), cache, 2, side=48)
    assert small.folder == pack.folder.with_name(pack.folder.name + "-48px") and small.side == 48
    assert small.content_sha256 == pack.content_sha256
    for number in range(len(pack.start)):
        assert np.array_equal(image(small, number, 0), shrink(image(pack, number, 0), 48))
    assert small.shape[:, 0, :2].min(axis=1).max() == 48


def test_what_a_pack_will_take_is_said_before_it_is_built(root, tmp_path):
    for side in (0, 48):
        spoken = []
        pack = find_or_build(list_tree(root), tmp_path, 2, side=side, say=spoken.append)
        assert re.match(r"the pack will take about \d+ MB of the .* free in .*10 images", spoken[0])
        assert 0.9 < estimate_bytes(list_tree(root), side) / pack.pixels.nbytes < 1.1


def test_progress_counts_every_image(root, tmp_path):
    calls = []
    find_or_build(list_tree(root), tmp_path, 2, lambda *call: calls.append(call))
    assert calls == [(n, 10) for n in range(1, 11)]


@pytest.mark.parametrize("how", ["steps", "random"])
def test_a_build_killed_anywhere_leaves_no_half_pack_and_the_next_is_the_same(root, tmp_path, how):
    find_or_build(list_tree(root), tmp_path / "calm", 2)
    calm = fingerprint(tmp_path / "calm")
    seen = interrupted(how, root, tmp_path / "killed")
    assert all(found in ({}, calm) for found in seen["left"])
    assert all(after == [0, calm] for after in seen["after"])
    assert seen["ends"].count(-9) > (20 if how == "steps" else 0)


def test_of_three_processes_that_want_one_pack_one_builds_it(root, tmp_path):
    seen = interrupted("twins", root, tmp_path)
    assert seen["ends"] == [0, 0, 0]
    assert seen["said"] == "built "
    assert len(seen["left"]) == 7


def test_packs_are_listed_found_by_the_start_of_a_name_and_removed(root, pack):
    cache = pack.folder.parent.parent
    find_or_build(list_tree(root), cache, 2, side=48)
    with pytest.raises(KeyboardInterrupt):
        find_or_build(list_tree(root), cache, 2, stop_after(3, KeyboardInterrupt()), side=40)
    found = {shelved.name: shelved for shelved in list_packs(cache)}
    name = pack.folder.name
    assert sorted(found) == [name, f"{name}-40px.building", f"{name}-48px"]
    whole = found[name]
    assert (whole.state, whole.images, whole.side, whole.source) == ("whole", 10, 0, str(root))
    assert whole.bytes >= pack.pixels.nbytes
    assert found[f"{name}-40px.building"].state == "unfinished"
    assert check_pack(cache, name)[1] == 0
    for wrong in ("", "nothing", name[:5]):
        with pytest.raises(DataError, match="of the packs in"):
            remove_pack(cache, wrong)
    assert remove_pack(cache, f"{name}-48") > 0
    remove_pack(cache, name)
    assert [shelved.state for shelved in list_packs(cache)] == ["unfinished"]
    assert list_packs(cache / "nowhere") == []


def test_a_pack_that_is_being_built_is_not_removed(root, tmp_path):
    def look(done: int, _: int) -> None:
        if done == 2:
            (shelved,) = list_packs(tmp_path)
            assert shelved.state == "being built"
            with pytest.raises(StorageError, match="being built by a running process"):
                remove_pack(tmp_path, shelved.name)

    find_or_build(list_tree(root), tmp_path, 2, look)
    assert [shelved.state for shelved in list_packs(tmp_path)] == ["whole"]


def test_ctrl_c_while_the_journal_is_written_enters_no_image_twice(root, tmp_path, monkeypatch):
    manifest, spoken, whole, calls = list_tree(root), [], os.fsync, []

    def fsync(handle: int) -> None:
        whole(handle)
        calls.append(handle)
        if len(calls) == 8:  # pixels and journal in turn: the fourth image's line is written
            raise KeyboardInterrupt

    monkeypatch.setattr(writing, "SYNC_BYTES", 0)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt):
        find_or_build(manifest, tmp_path, 2)
    find_or_build(manifest, tmp_path, 2, say=spoken.append)
    assert spoken[-1] == "going on with the pack after 4 of 10 images"
    assert fingerprint(tmp_path) == fingerprint_of_a_clean_build(root)


def test_pixels_go_to_the_disk_while_others_are_decoded_and_its_errors_are_told(
    root, tmp_path, monkeypatch
):
    pushed, whole = [], os.fdatasync
    monkeypatch.setattr(writing, "PUSH_BYTES", 0)
    monkeypatch.setattr(os, "fdatasync", lambda handle: pushed.append(handle) or whole(handle))
    find_or_build(list_tree(root), tmp_path, 2)
    assert pushed and fingerprint(tmp_path) == fingerprint_of_a_clean_build(root)

    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)  # the system tells it once, and not to a later fsync
    with pytest.raises(StorageError, match=r"cannot write pack .*: Input/output error"):
        find_or_build(list_tree(root), tmp_path / "other", 2)
    assert not [shelved for shelved in list_packs(tmp_path / "other") if shelved.state == "whole"]


def test_a_build_killed_while_it_is_synced_is_not_begun_again(root, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SYNC_BYTES", 0)
    manifest, spoken = list_tree(root), []

    def kill() -> None:
        raise KeyboardInterrupt  # past every handler of the writing, as a kill is

    with at_step(0, kill) as steps:
        find_or_build(manifest, tmp_path / "calm", 2)
    last = steps.index("rename")  # counted from 1, the step before it
    with pytest.raises(KeyboardInterrupt), at_step(last, kill):
        find_or_build(manifest, tmp_path / "killed", 2)
    find_or_build(manifest, tmp_path / "killed", 2, say=spoken.append)
    assert spoken[-1] == "going on with the pack after 10 of 10 images"
    assert fingerprint(tmp_path / "killed") == fingerprint_of_a_clean_build(root)


def test_a_terminal_that_went_away_costs_nothing_that_was_done(root, tmp_path):
    manifest, spoken = list_tree(root), []
    with pytest.raises(BrokenPipeError):
        find_or_build(manifest, tmp_path, 2, stop_after(4, BrokenPipeError(errno.EPIPE, "gone")))
    find_or_build(manifest, tmp_path, 2, say=spoken.append)
    assert spoken[-1] == "going on with the pack after 4 of 10 images"
