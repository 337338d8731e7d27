"""Downloads from a loopback https server that does all the things servers and networks do."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tls

from foveate.dataloaders.errors import DataError, NetworkError, StorageError
from foveate.dataloaders.fetch import download as module
from foveate.dataloaders.fetch import part
from foveate.dataloaders.fetch.connection import check_url
from foveate.dataloaders.fetch.download import Patience, download
from foveate.dataloaders.fetch.entry import Remote

ROOT = Path(__file__).resolve().parent.parent
DATA = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
HASTY = Patience(attempts=3, wait_s=0.01, timeout_s=2.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with the server's certificate, and its context."""
    folder = tmp_path_factory.mktemp("tls")
    return folder, tls.make_context(folder)


@pytest.fixture
def server(authority, monkeypatch):
    """A server that is trusted, with DATA at `a.bin`."""
    folder, context = authority
    tls.trust(monkeypatch, folder)
    with tls.serve(context) as server:
        server.files["a.bin"] = tls.Served(DATA)
        yield server


def remote(server, **facts) -> Remote:
    """`a.bin` of the server, and what is known of it."""
    return Remote("a.bin", server.url("a.bin"), **({"cap": 1_000_000} | facts))


def left(folder: Path) -> set[str]:
    """Names in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_file_comes_whole_with_its_hashes_and_nothing_beside_it(server, tmp_path):
    found = download(remote(server, sha256=SHA256, bytes=300_000), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert (found.bytes, found.sha256) == (300_000, SHA256)
    assert found.md5 == hashlib.md5(DATA).hexdigest()
    assert left(tmp_path) == {"a.bin"}
    assert server.asked == [("a.bin", "", "")]


def test_one_that_is_there_is_hashed_and_not_asked_for(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(DATA)
    assert download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY).sha256 == SHA256
    assert not server.asked
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match="sha256 is"):
        download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"


def test_a_broken_connection_goes_on_at_its_byte_in_the_same_call(server, tmp_path):
    server.files["a.bin"].cuts = [100_000, 50_000]
    said = []
    download(remote(server), tmp_path / "a.bin", HASTY, say=said.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.ranges() == ["", "bytes=100000-", "bytes=150000-"]
    assert [asked[2] for asked in server.asked] == ["", '"one"', '"one"']
    assert "from byte 100,000" in said[0]


def test_a_network_that_is_gone_keeps_what_came_and_the_same_call_goes_on(server, tmp_path):
    server.files["a.bin"].cuts = [70_000]
    server.files["a.bin"].status = [200, 503, 503, 503]
    with pytest.raises(NetworkError, match=r"given up after 3 attempts, 70,000 bytes are kept"):
        download(remote(server), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin.part").stat().st_size == 70_000
    download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY)
    assert server.ranges()[-1] == "bytes=70000-"
    assert left(tmp_path) == {"a.bin"}


CHILD = """
import sys
from pathlib import Path
from foveate.dataloaders.fetch.download import download
from foveate.dataloaders.fetch.entry import Remote
download(Remote("a.bin", sys.argv[1], cap=1_000_000), Path(sys.argv[2]))
"""


def test_after_kill_9_the_next_process_goes_on_where_it_was(server, tmp_path):
    server.files["a.bin"].pause_s = 0.02
    target, growing = tmp_path / "a.bin", tmp_path / "a.bin.part"
    command = [sys.executable, "-c", CHILD, server.url("a.bin"), str(target)]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while not (growing.exists() and growing.stat().st_size > 20_000):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(StorageError, match="another process is downloading"):
        download(remote(server), target, HASTY)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = growing.stat().st_size
    assert 20_000 < kept < 300_000
    server.files["a.bin"].pause_s = 0
    download(remote(server, sha256=SHA256), target, HASTY)
    assert server.ranges() == ["", f"bytes={kept}-"]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, tmp_path):
    for fact, wrong in (("sha256", "0" * 64), ("md5", "0" * 32)):
        with pytest.raises(DataError, match=f"{fact} is"):
            download(remote(server, **{fact: wrong}), tmp_path / "a.bin", HASTY)
        assert not left(tmp_path)


@pytest.mark.parametrize("length", [True, False])
def test_a_wrong_length_is_refused_before_or_while_it_comes(server, tmp_path, length):
    server.files["a.bin"].length = length
    for known in ({"bytes": 299_999}, {"cap": 299_999}, {"bytes": 300_001}):
        came = []
        with pytest.raises(DataError, match=r"299,999|300,001|300001|more than a.bin has"):
            download(
                remote(server, **known), tmp_path / "a.bin", HASTY, lambda n, _, c=came: c.append(n)
            )
        assert not left(tmp_path)
        assert bool(came) != length, "a length that is sent is believed where it is wrong"


def test_a_file_without_a_length_comes_too(server, tmp_path):
    server.files["a.bin"].length = False
    assert download(remote(server), tmp_path / "a.bin", HASTY).sha256 == SHA256


def test_a_server_that_ignores_range_starts_over(server, tmp_path):
    server.files["a.bin"].cuts, server.files["a.bin"].ranges = [100_000], False
    download(remote(server), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.ranges() == ["", "bytes=100000-"]


def test_a_server_that_always_breaks_off_there_is_given_up(server, tmp_path):
    server.files["a.bin"].cuts, server.files["a.bin"].ranges = [9_000] * 9, False
    with pytest.raises(NetworkError, match="given up after 3 attempts"):
        download(remote(server), tmp_path / "a.bin", HASTY)
    assert len(server.asked) == 3


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_on_the_way_starts_over(server, tmp_path, if_range):
    server.files["a.bin"].cuts, server.files["a.bin"].status = [100_000], [200, 503, 503, 503]
    with pytest.raises(NetworkError):
        download(remote(server), tmp_path / "a.bin", HASTY)
    other = DATA[::-1]
    server.files["a.bin"] = tls.Served(other, '"two"', if_range=if_range)
    download(remote(server), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin").read_bytes() == other


def test_without_a_mark_of_the_file_or_a_hash_it_starts_over(server, tmp_path):
    server.files["a.bin"] = tls.Served(DATA, etag="", cuts=[100_000])
    download(remote(server), tmp_path / "a.bin", HASTY)
    assert server.ranges() == ["", ""]
    server.files["a.bin"] = tls.Served(DATA, etag="", cuts=[100_000])
    download(remote(server, sha256=SHA256), tmp_path / "b.bin", HASTY)
    assert server.ranges()[2:] == ["", "bytes=100000-"]


def test_a_weak_etag_marks_nothing(server, tmp_path):
    server.files["a.bin"] = tls.Served(DATA, etag='W/"one"', cuts=[100_000])
    download(remote(server), tmp_path / "a.bin", HASTY)
    assert server.ranges() == ["", ""]


def test_a_part_that_is_all_there_is_recognised(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(DATA)
    note = {"url": server.url("a.bin"), "etag": '"one"', "changed": "", "total": 300_000}
    (tmp_path / "a.bin.part.json").write_text(json.dumps(note))
    download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY)
    assert server.ranges() == ["bytes=300000-"]


def test_a_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 5)
    note = {"url": "https://elsewhere/a.bin", "etag": '"one"', "changed": "", "total": 300_000}
    for text in (json.dumps(note), "{", "[]", '{"format": 1}'):
        (tmp_path / "a.bin.part").write_bytes(b"x" * 5)
        (tmp_path / "a.bin.part.json").write_text(text)
        download(remote(server), tmp_path / "a.bin", HASTY)
        assert (tmp_path / "a.bin").read_bytes() == DATA
        (tmp_path / "a.bin").unlink()
    assert set(server.ranges()) == {""}


def test_a_redirect_to_https_is_followed_with_its_range(server, tmp_path):
    server.files["old"] = tls.Served(redirect=server.url("a.bin"))
    server.files["a.bin"].cuts = [100_000]
    old = replace(remote(server), url=server.url("old"))
    download(old, tmp_path / "a.bin", HASTY)
    assert server.ranges() == ["", "", "bytes=100000-", "bytes=100000-"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data"])
def test_a_redirect_away_from_https_is_refused(server, tmp_path, scheme):
    with tls.serve(None) as plain:
        plain.files["a.bin"] = tls.Served(DATA)
        where = f"{scheme}://localhost:{plain.port}/a.bin"
        server.files["a.bin"] = tls.Served(redirect=where)
        with pytest.raises(NetworkError, match=rf"redirect to {scheme}://\w+ is refused"):
            download(remote(server), tmp_path / "a.bin", HASTY)
        assert not plain.asked and len(server.asked) == 1
    assert not (tmp_path / "a.bin").exists()


def test_a_circle_of_redirects_ends(server, tmp_path):
    server.files["a.bin"] = tls.Served(redirect=server.url("b"))
    server.files["b"] = tls.Served(redirect=server.url("a.bin"))
    with pytest.raises(NetworkError, match="without end"):
        download(remote(server), tmp_path / "a.bin", HASTY)
    assert len(server.asked) < 12


def test_a_certificate_of_somebody_else_is_refused_at_once(server, tmp_path, monkeypatch):
    tls.make_authority(tmp_path, "stranger")
    tls.trust(monkeypatch, tmp_path, "stranger")
    with pytest.raises(NetworkError, match=r"certificate of localhost .* SSL_CERT_FILE"):
        download(remote(server), tmp_path / "a.bin", HASTY)
    assert not server.asked


def test_a_certificate_for_another_name_is_refused(server, tmp_path):
    elsewhere = replace(remote(server), url=server.url("a.bin", "127.0.0.1"))
    with pytest.raises(NetworkError, match=r"certificate of 127.0.0.1 .*mismatch"):
        download(elsewhere, tmp_path / "a.bin", HASTY)
    assert not server.asked


def test_a_server_that_says_nothing_is_given_up_after_the_time_out(server, tmp_path):
    server.files["a.bin"].pause_s = 30
    began = time.monotonic()
    with pytest.raises(NetworkError, match="given up after 2 attempts"):
        download(remote(server), tmp_path / "a.bin", Patience(2, 0.01, 0.3))
    assert time.monotonic() - began < 10


def test_a_server_that_drips_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALL_S", 0.2)
    server.files["a.bin"].pause_s = 0.1
    server.files["a.bin"].ranges = False
    with pytest.raises(NetworkError, match="standstill"):
        download(remote(server), tmp_path / "a.bin", HASTY)


def test_a_busy_server_is_asked_again_and_one_that_says_no_is_not(server, tmp_path):
    server.files["a.bin"].status = [429, 503]
    download(remote(server), tmp_path / "a.bin", HASTY)
    assert len(server.asked) == 3
    for code in (401, 403, 404, 410):
        server.asked.clear()
        server.files["a.bin"].status = [code]
        with pytest.raises(NetworkError, match=f"answered {code}"):
            download(remote(server), tmp_path / "b.bin", HASTY)
        assert len(server.asked) == 1


def test_packed_transport_is_refused(server, tmp_path):
    server.files["a.bin"].headers = {"Content-Encoding": "gzip"}
    with pytest.raises(NetworkError, match="packs what it sends"):
        download(remote(server), tmp_path / "a.bin", HASTY)


def test_the_proxy_of_the_environment_is_used_and_sees_nothing(server, tmp_path, monkeypatch):
    with tls.serve(None, proxy=True) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY)
        assert proxy.asked == [(f"localhost:{server.port}", "", "")]


def test_ctrl_c_keeps_what_came(server, tmp_path):
    def stop(done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote(server), tmp_path / "a.bin", HASTY, stop)
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert kept > 100_000
    download(remote(server, sha256=SHA256), tmp_path / "a.bin", HASTY)
    assert server.ranges() == ["", f"bytes={kept}-"]


def test_nobody_there_is_40_and_says_so(server, tmp_path):
    with tls.serve(None) as gone:
        port = gone.port
    away = replace(remote(server), url=f"https://localhost:{port}/a.bin")
    with pytest.raises(NetworkError, match="refused") as caught:
        download(away, tmp_path / "a.bin", HASTY)
    assert caught.value.exit_code == 40 and "\n" not in str(caught.value)


def test_too_little_disk_is_said_before_a_byte_comes(server, tmp_path, monkeypatch):
    real = os.statvfs(tmp_path)
    small = os.statvfs_result((*real[:4], 10, *real[5:]))
    monkeypatch.setattr(module.os, "statvfs", lambda path: small)
    with pytest.raises(StorageError, match=r"GB free and .* are still to come"):
        download(remote(server), tmp_path / "a.bin", HASTY)


def test_a_disk_that_fills_up_keeps_what_came(server, tmp_path, monkeypatch):
    monkeypatch.setattr(part, "SYNC_BYTES", 100_000)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        download(remote(server), tmp_path / "a.bin", HASTY)
    assert (tmp_path / "a.bin.part").stat().st_size >= 90_000


@pytest.mark.parametrize(
    "url", ["http://a/b", "ftp://a/b", "file:///etc/passwd", "https://me:secret@a/b", "https:///b"]
)
def test_only_https_without_a_login_is_an_address(url):
    with pytest.raises(NetworkError) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)
