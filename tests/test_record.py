"""Hash records: what sha256sum reads and writes, and no silent agreement with a damaged list."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.verify.record import (
    CHANGED,
    NAME,
    differs,
    find_record,
    place_in_cache,
    read_record,
    write_record,
)

NAMES = ("a b.jpeg", "back\\slash.jpeg", "new\nline.jpeg", "cr\rx.jpeg", "deep/one.jpeg")


@pytest.fixture
def root(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def rows(root: Path) -> list[tuple[str, bytes, int]]:
    found = ((name, (root / name).read_bytes()) for name in NAMES)
    return [(name, hashlib.sha256(data).digest(), len(data)) for name, data in found]


def test_what_is_written_is_read_again(root):
    write_record(root / NAME, rows(root))
    record = read_record(root)
    assert {n: (r.sha256, r.bytes) for n, r in record.items()} == {
        name: (sha256.hex(), size) for name, sha256, size in rows(root)
    }
    assert not any(differs(record, name, sha256) for name, sha256, _ in rows(root))
    assert differs(record, NAMES[0], bytes(32)) == CHANGED
    assert differs(record, "came later.jpeg", bytes(32)) == "" == differs(None, "x", bytes(32))


def test_sha256sum_checks_it_and_its_own_lists_are_read(root):
    write_record(root / NAME, rows(root))
    words = ["sha256sum", "--check", "--strict", NAME]
    assert subprocess.run(words, cwd=root, capture_output=True).returncode == 0
    (root / NAMES[0]).write_bytes(b"other")
    assert subprocess.run(words, cwd=root, capture_output=True).returncode == 1
    own = subprocess.run(["sha256sum", "--", *NAMES], cwd=root, capture_output=True, check=True)
    (root / NAME).write_bytes(own.stdout)
    record = read_record(root)
    assert set(record) == set(NAMES) and {r.bytes for r in record.values()} == {-1}
    assert [n for n, sha256, _ in rows(root) if differs(record, n, sha256)] == []


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path):
    name = os.fsdecode(b"\xff.jpeg")
    write_record(tmp_path / NAME, [(name, bytes(32), 0)])
    assert list(read_record(tmp_path)) == [name]


def test_a_damaged_or_newer_record_is_refused_and_names_no_file(root):
    for text, word in (("0123  jones.jpeg\n", "line 1"), ("# foveate record 2: x\n", "upgrade")):
        (root / NAME).write_text(text)
        with pytest.raises(DataError, match=word) as error:
            read_record(root)
        assert "jones" not in str(error.value)


def test_the_root_comes_before_the_cache_and_a_private_record_is_private(root, tmp_path):
    cache = tmp_path / "cache"
    hidden = place_in_cache(root, cache)
    assert find_record(root, cache) is None and read_record(root, cache) is None
    write_record(hidden, rows(root), private=True)
    assert find_record(root, cache) == hidden and stat.S_IMODE(hidden.stat().st_mode) == 0o600
    write_record(root / NAME, rows(root))
    assert find_record(root, cache) == root / NAME
