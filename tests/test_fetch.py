"""`data fetch`: a whole set from an address to a folder that a recipe trains on."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import tls
from hostile import make_tar, make_zip, snapshot
from trees import CLASSES, draw, encode

from foveate.dataloaders.errors import DataError, NetworkError, StorageError
from foveate.dataloaders.fetch import bring as module
from foveate.dataloaders.fetch.bring import CARD, bring, hash_tree
from foveate.dataloaders.fetch.catalogue import SETS, checked_by, find_set
from foveate.dataloaders.fetch.connection import check_url
from foveate.dataloaders.fetch.download import Patience
from foveate.dataloaders.fetch.entry import Count, DataSet, Remote
from foveate.dataloaders.fetch.trust import Ledger
from foveate.dataloaders.folder import scan
from foveate.engine import catalog
from foveate.engine.cli import main

ROOT = Path(__file__).resolve().parent.parent
HASTY = Patience(attempts=2, wait_s=0.01, timeout_s=2.0)
IMAGES = {
    f"{part}/{name}/{name}-{number}-1.jpeg": encode(draw(number, 40, 50), "jpeg")
    for part in ("train", "test")
    for name in CLASSES
    for number in range(3)
}
LABELS = b'{"images": []}'


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def stage(self, text: str) -> Iterator:
        self.lines.append(text)
        yield lambda done, total: None

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with the server's certificate, and its context."""
    folder = tmp_path_factory.mktemp("tls")
    return folder, tls.make_context(folder)


@pytest.fixture
def server(authority, monkeypatch):
    """A server with a tiny set in a tar, inside folders that nobody foresaw."""
    tls.trust(monkeypatch, authority[0])
    tar = make_tar(*((f"Set 2017 /deep/{name}", data) for name, data in IMAGES.items()))
    with tls.serve(authority[1]) as server:
        server.files["set.tar.gz"] = tls.Served(gzip.compress(tar))
        server.files["labels.json"] = tls.Served(LABELS)
        yield server


def tiny(server) -> DataSet:
    """The catalogue's entry of that set."""
    archive = Remote(
        "set.tar.gz",
        server.url("set.tar.gz"),
        cap=1_000_000,
        anchor=("train", "test"),
        unpacked=1_000_000,
    )
    sha256 = hashlib.sha256(LABELS).hexdigest()
    labels = Remote(
        "labels.json", server.url("labels.json"), cap=99, sha256=sha256, into="annotations"
    )
    counts = tuple(Count(f"{part}/{n}/*.jpeg", 3) for part in ("train", "test") for n in CLASSES)
    return DataSet(
        *("tiny", "two classes", "CC0", "nobody", "https://localhost"),
        remotes=(archive, labels),
        counts=(*counts, Count("annotations/*.json", 1)),
    )


@pytest.fixture
def ledger(tmp_path):
    """Nothing trusted yet."""
    return Ledger(tmp_path / "cache" / "fetched.json")


def test_a_set_comes_to_the_folder_that_a_recipe_reads(server, ledger, tmp_path):
    told = Told()
    found = bring(tiny(server), tmp_path / "set", ledger, told, HASTY)
    assert found.new and sum(found.counts.values()) == 13
    assert len(scan(tmp_path / "set", CLASSES, ("train", "test"))) == 12
    assert (tmp_path / "set" / "annotations" / "labels.json").read_bytes() == LABELS
    assert {p.name for p in tmp_path.iterdir()} == {"set", "cache"}
    card = json.loads((tmp_path / "set" / CARD).read_text())
    assert card["licence"] == "CC0" and card["files"]["set.tar.gz"]["sha256"]
    assert not [line for line in told.lines if "-1" in line], "a file's name may be a patient's"


def test_the_same_call_counts_again_and_asks_nobody(server, ledger, tmp_path, monkeypatch):
    bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    server.asked.clear()
    monkeypatch.setattr(module, "_alone", None)  # it makes a folder: the place may be read-only
    assert not bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY).new
    next((tmp_path / "set/train/CNV").iterdir()).unlink()
    with pytest.raises(DataError, match=r"2 files train/CNV/\*.jpeg for 3"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    assert not server.asked


def test_the_first_sha256_is_said_kept_and_enforced(server, ledger, tmp_path):
    found = bring(tiny(server), tmp_path / "one", ledger, Told(), HASTY)
    assert found.first == ["set.tar.gz"], "the other one's hash is published"
    assert bring(tiny(server), tmp_path / "two", ledger, Told(), HASTY).first == []
    tar = make_tar(*((f"x/{name}", data) for name, data in IMAGES.items()))
    server.files["set.tar.gz"] = tls.Served(gzip.compress(tar), '"other"')
    with pytest.raises(DataError, match=r"first download .* remove its lines from"):
        bring(tiny(server), tmp_path / "three", ledger, Told(), HASTY)
    assert not (tmp_path / "three").exists()
    ledger.path.unlink()
    assert bring(tiny(server), tmp_path / "three", ledger, Told(), HASTY).new


def test_a_set_with_wrong_counts_is_not_put_there_nor_trusted(server, ledger, tmp_path):
    entry = tiny(server)
    entry = replace(entry, counts=(*entry.counts, Count("val/*", 4)))
    with pytest.raises(DataError, match=r"0 files val/\* for 4; remove .*set.download") as caught:
        bring(entry, tmp_path / "set", ledger, Told(), HASTY)
    assert caught.value.exit_code == 20
    assert not (tmp_path / "set").exists() and not ledger.path.exists()
    assert "whole" not in {p.name for p in (tmp_path / "set.download").iterdir()}


def test_every_files_hash_is_checked_where_the_archives_cannot_be(server, ledger, tmp_path):
    bring(tiny(server), tmp_path / "one", ledger, Told(), HASTY)
    content = hash_tree(tmp_path / "one")
    entry = replace(tiny(server), content=content)
    assert bring(entry, tmp_path / "two", ledger, Told(), HASTY).new
    image = next((tmp_path / "two/train/CNV").iterdir())
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="wrong bytes in some"):
        bring(entry, tmp_path / "two", ledger, Told(), HASTY)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (("../../out", b"x"), "steps out"),
        (("a/train/CNV/x.jpeg", b"x"), "no place with the folders train, test"),
    ],
)
def test_a_hostile_or_strange_archive_leaves_no_data_folder(server, ledger, tmp_path, inside, said):
    server.files["set.tar.gz"] = tls.Served(gzip.compress(make_tar(inside)))
    with pytest.raises(DataError, match=said):
        bring(tiny(server), tmp_path / "in" / "set", ledger, Told(), HASTY)
    names = {"in", "in/set.download", "in/set.download/lock"}
    names |= {f"in/set.download/{name}" for name in ("set.tar.gz", "labels.json")}
    assert snapshot(tmp_path).keys() == names


def test_two_places_for_the_data_are_one_too_many(server, ledger, tmp_path):
    twice = [(f"{top}/{name}", data) for top in "ab" for name, data in IMAGES.items()]
    server.files["set.tar.gz"] = tls.Served(gzip.compress(make_tar(*twice)))
    with pytest.raises(DataError, match="2 places"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)


def test_a_folder_of_somebody_else_is_left_alone(server, ledger, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_bytes(b"mine")
    with pytest.raises(DataError, match="not empty and did not come from here"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    assert snapshot(tmp_path) == {"set": b"/", "set/mine": b"mine"} and not server.asked
    (tmp_path / "set" / "mine").unlink()
    assert bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY).new


def test_what_is_behind_a_login_says_what_to_do_and_goes_on_from_there(ledger, tmp_path):
    data = make_zip(("Training/CNV/a.jpeg", b"x"), ("Training/DRUSEN/a.jpeg", b"y"))
    remote = Remote("archive.zip", cap=9_999, anchor=("Training",), unpacked=99)
    entry = DataSet(
        *("login", "a set", "MIT", "nobody", "https://localhost"),
        remotes=(remote,),
        counts=(Count("Training/*/*.jpeg", 2),),
        manual="log in there and put it at {file}",
    )
    with pytest.raises(DataError, match=r"log in there and put it at .*/archive.zip") as caught:
        bring(entry, tmp_path / "set", ledger, Told(), HASTY)
    place = Path(re.search(r"at (\S+archive\.zip)", str(caught.value))[1])
    place.parent.mkdir()
    place.write_bytes(data)
    assert bring(entry, tmp_path / "set", ledger, Told(), HASTY).new
    assert place.read_bytes() == data, "a person brought it"


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
import test_fetch, tls
from foveate.dataloaders.fetch import extract
from foveate.dataloaders.fetch.bring import bring
from foveate.dataloaders.fetch.trust import Ledger
import time
write = extract._write
def slow(member, path):
    write(member, path)
    time.sleep(0.2)
extract._write = slow
server = tls.Server(int(sys.argv[1]))
here = Path(sys.argv[2])
bring(test_fetch.tiny(server), here / "set", Ledger(here / "cache/fetched.json"), test_fetch.Told())
"""


def test_after_kill_9_while_unpacking_the_same_call_goes_on(server, ledger, tmp_path):
    words = [str(server.port), str(tmp_path), str(ROOT / "tests")]
    place = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, *words], cwd=ROOT, env=place)
    work = tmp_path / "set.download" / "unpacked.extracting"
    deadline = time.monotonic() + 60
    while len(list(work.rglob("*.jpeg"))) < 3:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(StorageError, match="another process is at work"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    child.send_signal(signal.SIGKILL)
    child.wait()
    server.asked.clear()
    assert bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY).new
    assert not server.asked, "both files were there"
    assert {p.name for p in tmp_path.iterdir()} == {"set", "cache"}


def test_a_network_that_is_gone_leaves_the_rest_to_the_next_call(server, ledger, tmp_path):
    del server.files["labels.json"]
    with pytest.raises(NetworkError, match="404"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    server.files["labels.json"] = tls.Served(LABELS)
    server.asked.clear()
    bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    assert [asked[0] for asked in server.asked] == ["labels.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99, "files": {}}'])
def test_a_damaged_or_newer_note_is_refused_in_a_line(server, ledger, tmp_path, text):
    ledger.path.parent.mkdir()
    ledger.path.write_text(text)
    with pytest.raises(StorageError, match=r"damaged|newer"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / CARD).write_text(text)
    with pytest.raises(StorageError, match=r"damaged|newer"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)


def test_the_catalogue_is_whole_and_says_how_sure_it_is():
    names = [entry.name for entry in SETS]
    assert len(set(names)) == len(names) == 9
    for entry in SETS:
        assert entry.licence and entry.citation and entry.counts and entry.page
        assert not entry.tried, "say in the commit who tried it, and where"
        assert bool(entry.manual) == (not all(r.url for r in entry.remotes))
        for remote in entry.remotes:
            if remote.url:
                check_url(remote.url)
            assert remote.cap >= max(remote.bytes, remote.about) and remote.cap
            assert re.fullmatch(r"([0-9a-f]{64})?", remote.sha256)
            assert re.fullmatch(r"([0-9a-f]{32})?", remote.md5)
        assert re.fullmatch(r"([0-9a-f]{64})?", entry.content)
    assert "NO COMMERCIAL USE" in find_set("livecell").licence


@pytest.mark.parametrize("name", ["oct2017", "brain_mri"])
def test_the_counts_are_those_of_the_recipe(name):
    data = catalog.find(name).data
    for part, expected in ((data.train, data.expect_train), (data.test, data.expect_test)):
        found = {c.pattern: c.files for c in find_set(name).counts}
        classes = catalog.find(name).task.classes
        patterns = [next(p for p in found if p.startswith(f"{part}/{c}/")) for c in classes]
        assert tuple(found[p] for p in patterns) == expected


def foveate_says(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command."""
    code = main(["data", "fetch", *words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_table_names_licence_size_place_and_doubt(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = foveate_says(capsys)
    assert code == 0 and out.count("address not tried by us") == 8
    for entry in SETS:
        assert entry.name in out and entry.licence in out and checked_by(entry) in out
    code, out, _ = foveate_says(capsys, "--json", "-")
    assert [row["name"] for row in json.loads(out)["sets"]] == [entry.name for entry in SETS]


def test_nothing_comes_before_the_licence_is_accepted(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115
    code, out, err = foveate_says(capsys, "livecell")
    assert code == 2 and "NO COMMERCIAL USE" in out and "--yes" in err
    assert not list(tmp_path.iterdir())


def test_an_unknown_set_and_a_login_are_a_line_and_20(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = foveate_says(capsys, "oct2016")
    assert code == 20 and "did you mean 'oct2017'?" in err
    code, out, err = foveate_says(capsys, "brain_mri", "--yes")
    assert code == 20 and "licence   MIT" in out and err.count("\n") == 1
    assert "kaggle.com" in err and "data/brain_mri.download/archive.zip" in err


def test_the_command_brings_a_set_and_says_how_to_train(server, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    entry = replace(tiny(server), name="oct2017", recipe="oct2017")
    monkeypatch.setattr("foveate.engine.verbs.fetch.find_set", lambda name: entry)
    code, out, err = foveate_says(capsys, "oct2017", "--to", "my set", "--yes")
    assert code == 0 and not err
    assert "foveate train oct2017 --data.root 'my set'" in out
    assert "nobody published a hash of set.tar.gz" in out
    code, out, _ = foveate_says(capsys, "oct2017", "--to", "my set", "--json", "-")
    answer = json.loads(out)
    assert code == 0 and not answer["new"] and answer["counts"]["train/CNV/*.jpeg"] == 3


def test_too_little_room_to_unpack_is_said_first(server, ledger, tmp_path, monkeypatch):
    none = module.shutil._ntuple_diskusage(1, 1, 0)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: none)
    with pytest.raises(StorageError, match=r"unpacking takes .* or more"):
        bring(tiny(server), tmp_path / "set", ledger, Told(), HASTY)
