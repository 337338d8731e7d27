"""Unpacking: what is honest comes out whole, what is hostile comes out not at all."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import time
import tracemalloc
import warnings
import zipfile

import hostile
import pytest
from hostile import make_tar, make_zip, snapshot, special

from foveate.dataloaders.errors import DataError, StorageError
from foveate.dataloaders.fetch import expand
from foveate.dataloaders.fetch import extract as module
from foveate.dataloaders.fetch.extract import Limits, extract

SMALL = Limits(2 << 20, 50)
HONEST = (
    ("OCT/train/CNV/CNV-1-1.jpeg", bytes(range(256)) * 700),
    ("OCT/train/DME/DME-2-1.jpeg", b""),
    ("OCT/" + "long" * 30 + "/caf\u00e9 1.jpeg", b"x" * 511),
    ("__MACOSX/OCT/._CNV-1-1.jpeg", b"fork"),
    ("OCT/train/._DME-2-1.jpeg", b"fork"),
    ("OCT/.DS_Store", b"desktop"),
)
TREE = {
    name: data for name, data in HONEST if not name.rpartition("/")[2].startswith(("._", ".DS"))
}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # zipfile warns of duplicate names
    EVERY = hostile.every_kind()

PLAIN_TAR = make_tar(*HONEST)
FORMS = {
    ".zip": make_zip(*HONEST),
    ".ZIP": make_zip(*HONEST, packing=zipfile.ZIP_STORED),
    ".wide.zip": hostile.make_wide_zip(*HONEST),
    ".tar": PLAIN_TAR,
    ".tar.gz": gzip.compress(PLAIN_TAR),
    ".tgz": gzip.compress(PLAIN_TAR[:5000]) + gzip.compress(PLAIN_TAR[5000:]) + bytes(512),
    ".tar.xz": lzma.compress(PLAIN_TAR),
    ".tar.bz2": bz2.compress(PLAIN_TAR),
    ".gnu.tar": make_tar(*HONEST, form=tarfile.GNU_FORMAT),
    ".ustar.tar": make_tar(*HONEST, form=tarfile.USTAR_FORMAT),
}


@pytest.mark.parametrize("ending", FORMS)
def test_an_honest_archive_comes_out_whole_and_without_litter(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(FORMS[ending])
    done = extract(tmp_path / f"a{ending}", tmp_path / "out", SMALL)
    found = snapshot(tmp_path / "out")
    assert {name: data for name, data in found.items() if data != b"/"} == TREE
    assert (done.files, done.litter) == (3, 3)
    assert {path.name for path in tmp_path.iterdir()} == {f"a{ending}", "out"}


def test_folders_of_their_own_and_global_headers_are_fine(tmp_path):
    folder, note = special("OCT/", tarfile.DIRTYPE), hostile.record("comment", "of a commit")
    (tmp_path / "a.tar").write_bytes(
        hostile.header("g", b"%011o\0" % len(note), b"g")
        + note.ljust(512, b"\0")
        + make_tar(folder, *HONEST)
    )
    (tmp_path / "b.zip").write_bytes(make_zip(("OCT/", b""), *HONEST))
    assert extract(tmp_path / "a.tar", tmp_path / "a", SMALL).files == 3
    assert extract(tmp_path / "b.zip", tmp_path / "b", SMALL).files == 3


@pytest.mark.parametrize("what", EVERY)
def test_a_hostile_archive_is_refused_and_nothing_is_written(tmp_path, what):
    ending, data, said = EVERY[what]
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    (tmp_path / "bystander").write_bytes(b"untouched")
    (inner / f"bad{ending}").write_bytes(data)
    before = snapshot(tmp_path)
    began = time.monotonic()
    with pytest.raises(DataError, match=said) as caught:
        extract(inner / f"bad{ending}", inner / "out", SMALL)
    assert time.monotonic() - began < 5, "it may not keep anybody busy"
    assert snapshot(tmp_path) == before
    assert not os.path.lexists("/tmp/foveate-out")
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_there_are_more_than_forty_of_them():
    assert len(EVERY) > 40


def test_modes_owners_and_set_user_bits_of_an_archive_are_ignored(tmp_path):
    info = tarfile.TarInfo("bin/tool")
    info.mode, info.uid = 0o6777, 12345
    folder = special("dark", tarfile.DIRTYPE)
    folder.mode = 0
    (tmp_path / "a.tar").write_bytes(make_tar(folder, info))
    (tmp_path / "b.zip").write_bytes(make_zip(("bin/tool", b"x"), mode=stat.S_IFREG | 0o6777))
    old = os.umask(0o077)
    try:
        for name in ("a.tar", "b.zip"):
            extract(tmp_path / name, tmp_path / name[0], SMALL)
    finally:
        os.umask(old)
    for path in (tmp_path / "a/bin/tool", tmp_path / "b/bin/tool"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert path.stat().st_uid == os.getuid()
    assert stat.S_IMODE((tmp_path / "a/dark").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a/bin").stat().st_mode) == 0o755


def test_what_a_killed_one_left_is_replaced(tmp_path):
    (tmp_path / "out.extracting" / "OCT").mkdir(parents=True)
    (tmp_path / "out.extracting" / "OCT" / "half").write_bytes(b"half")
    (tmp_path / "a.zip").write_bytes(make_zip(*HONEST))
    extract(tmp_path / "a.zip", tmp_path / "out", SMALL)
    assert not (tmp_path / "out" / "OCT" / "half").exists()


def test_a_link_that_waits_in_the_place_of_the_work_folder_is_not_followed(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "kept").write_bytes(b"kept")
    (tmp_path / "out.extracting").symlink_to(tmp_path / "victim")
    (tmp_path / "a.zip").write_bytes(make_zip(*HONEST))
    with pytest.raises(StorageError, match="cannot unpack"):
        extract(tmp_path / "a.zip", tmp_path / "out", SMALL)
    assert snapshot(tmp_path / "victim") == {"kept": b"kept"}


def test_a_full_disk_is_50_and_leaves_no_half(tmp_path, monkeypatch):
    def full(number, mode):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.zip").write_bytes(make_zip(*HONEST))
    monkeypatch.setattr(module.os, "fchmod", full)
    with pytest.raises(StorageError, match="No space left on device; free space") as caught:
        extract(tmp_path / "a.zip", tmp_path / "out", SMALL)
    assert caught.value.exit_code == 50
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}


def test_it_streams(tmp_path):
    noise = os.urandom(20 << 20)
    (tmp_path / "a.zip").write_bytes(make_zip(("a", noise), ("b", noise[::-1])))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(make_tar(("a", noise)), 1))
    del noise
    for name in ("a.zip", "b.tar.gz"):
        tracemalloc.start()
        extract(tmp_path / name, tmp_path / name[0], Limits(64 << 20))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * expand.CHUNK
