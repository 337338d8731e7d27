"""A checkpoint is whole, checked and never pickled; a damaged one is found before it is used."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil

import pytest
import torch

from foveate.dataloaders.errors import StorageError
from foveate.engine import checkpoint
from foveate.engine.checkpoint import Checkpointer, Saved, read, write

TENSORS = {
    "model.weight": torch.randn(3, 4, 5),
    "model.count": torch.tensor(7),
    "ema.half": torch.randn(6).bfloat16(),
    "empty": torch.empty(0, 2),
}
FACTS = {"data_sha256": "ab", "train_s": 1.5, "best": None}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, Saved(4, TENSORS, FACTS))
    write(tmp_path, Saved(8, TENSORS, FACTS))
    return tmp_path


def test_what_is_saved_comes_back_bit_for_bit(folder):
    saved = read(folder / "step-00000008")
    assert (saved.step, saved.facts) == (8, FACTS)
    assert saved.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert saved.tensors[name].dtype == value.dtype
        assert torch.equal(saved.tensors[name], value)


def test_only_the_newest_two_are_kept(folder):
    write(folder, Saved(12, TENSORS, FACTS))
    assert sorted(os.listdir(folder)) == ["step-00000008", "step-00000012"]


def test_any_flipped_bit_is_found_and_the_one_before_is_used(folder, tmp_path):
    chance = random.Random(0)
    newest = folder / "step-00000008"
    for name in ("rank-0.safetensors", "layout.json"):
        data = (newest / name).read_bytes()
        for _ in range(100):
            at, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
            (newest / name).write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            try:
                saved = read(newest)
            except StorageError:
                continue
            assert json.loads((newest / name).read_text()) == json.loads(data), "a silent change"
            assert saved.step == 8  # JSON whitespace: nothing changed
        (newest / name).write_bytes(data[:-1])
        assert Checkpointer(folder).restore().step == 4
        (newest / name).write_bytes(data)


@pytest.mark.parametrize("gone", ["rank-0.safetensors", "layout.json"])
def test_a_missing_or_swapped_file_is_found(folder, gone):
    newest = folder / "step-00000008"
    other = newest / ("layout.json" if gone != "layout.json" else "rank-0.safetensors")
    shutil.copy(other, newest / gone)
    with pytest.raises(StorageError):
        read(newest)
    (newest / gone).unlink()
    assert Checkpointer(folder).restore().step == 4


def test_checkpoints_of_which_none_is_whole_are_not_passed_over_in_silence(folder):
    for path in folder.glob("step-*/layout.json"):
        path.write_text("{")
    with pytest.raises(StorageError, match="none of 2 checkpoints"):
        Checkpointer(folder).restore()


def test_an_empty_folder_restores_nothing(tmp_path):
    assert Checkpointer(tmp_path / "absent").restore() is None


def test_a_pickle_in_place_of_a_shard_is_never_run(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "marker"),))

    for path in folder.glob("step-*/rank-0.safetensors"):
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(StorageError):
        Checkpointer(folder).restore()
    assert not (tmp_path / "marker").exists()


def test_a_newer_format_is_refused(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    write(folder, Saved(9, TENSORS, FACTS))
    monkeypatch.undo()
    with pytest.raises(StorageError, match="upgrade"):
        read(folder / "step-00000009")


CALLS = ("write_durably", "_sync")


@pytest.mark.parametrize("fails", range(5))
def test_a_disk_that_fills_at_any_call_leaves_the_one_before_whole(folder, monkeypatch, fails):
    left = [fails]

    def failing(real):
        def call(*args):
            if left[0] == 0:
                raise OSError(28, "No space left on device", "x")
            left[0] -= 1
            return real(*args)

        return call

    for name in CALLS:
        monkeypatch.setattr(checkpoint, name, failing(getattr(checkpoint, name)))
    saver = Checkpointer(folder)
    saver.save(12, TENSORS, FACTS)
    if fails < 4:  # two files, their folder, the parent: four calls to make
        with pytest.raises(StorageError, match="No space left on device"):
            saver.wait()
        assert not list(folder.glob("*.partial"))
    else:
        saver.wait()
    monkeypatch.undo()
    assert Checkpointer(folder).restore().step in ((12,) if fails >= 3 else (8,))


def test_saving_copies_before_it_returns(tmp_path):
    value = torch.zeros(1000)
    saver = Checkpointer(tmp_path)
    saver.save(1, {"v": value}, FACTS)
    value += 1
    saver.close()
    assert read(tmp_path / "step-00000001").tensors["v"].sum() == 0
