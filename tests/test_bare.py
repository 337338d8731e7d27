"""A machine that has torch and little else: Pillow stands in, and says so once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import draw, encode

from foveate.dataloaders.decoders import pillow
from foveate.dataloaders.decoders.decode import Unreadable, decode
from foveate.dataloaders.errors import DataError
from foveate.dataloaders.phantoms.oct import encode_jpeg, find_encoder
from foveate.dataloaders.phantoms.scan import draw_oct

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("simplejpeg", "imagecodecs", "tifffile", "tyro")
MISSING = (*PACKAGES, "zarr", "mlflow", "deepspeed", "nvidia.dali", "sqlalchemy", "alembic")
GRAY, COLOUR, DEEP = draw(0, 96, 130), draw(1, 75, 61, 3), draw(2, 40, 50, 1, deep=True)
# Written before anything is hidden: imagecodecs loads its parts when they are first used.
FILES = {
    (kind, name): encode(pixels, kind)
    for kind in ("jpeg", "progressive", "png", "tiff")
    for name, pixels in (("gray", GRAY), ("colour", COLOUR), ("deep", DEEP))
    if name != "deep" or kind in ("png", "tiff")
}
HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if any(name == h or name.startswith(h + ".") for h in sys.argv[1].split(",")):
            raise ModuleNotFoundError(f"No module named {name!r} (hidden by the test)", name=name)

sys.meta_path.insert(0, Hide())
from foveate.engine.cli import main
sys.exit(main(sys.argv[2:]))
"""


def foveate(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """The command line, in a process where the packages are not installed."""
    command = [sys.executable, "-c", HIDE, ",".join(MISSING), *words]
    # The machine code of the kernels is the session's: compiling it again takes 10 seconds.
    cache.mkdir(exist_ok=True)
    (cache / "numba").symlink_to(Path(os.environ["FOVEATE_CACHE"], "numba").resolve())
    place = os.environ | {"FOVEATE_CACHE": str(cache)}
    return subprocess.run(
        command, cwd=ROOT, env=place, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def bare(monkeypatch):
    """This process, as if they were not installed."""
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    pillow.say_once.cache_clear()


def test_a_tiny_run_goes_from_a_drawn_twin_to_its_receipt(tmp_path):
    fields = "--data.twin.train 24 --data.twin.test 8 --batch 8 --epochs 1 --size 32".split()
    fields += "--schedule.sizes 32 32 --task.model mobilenet_v3_small".split()
    words = ("train", "oct2017:quickstart", "--out", str(tmp_path / "run"), *fields)
    done = foveate(*words, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("simplejpeg is not installed") == 1
    assert json.loads((tmp_path / "run" / "receipt.json").read_text())["images_seen"] == 24
    (card,) = (tmp_path / "cache" / "twins").glob("*/twin.json")
    assert json.loads(card.read_text())["encoder"] == "Pillow"
    assert card.parent.name.endswith("-pillow"), "the twin of simplejpeg has other bytes"


def test_only_the_help_page_misses_tyro(tmp_path):
    done = foveate("recipes", "show", "oct2017:quickstart", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "--optimizer.lr" in done.stdout and "0.002" in done.stdout
    assert "pip install tyro" in done.stdout


@pytest.mark.parametrize("name", ["gray", "colour"])
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_pillow_gives_the_same_pixels(kind, name, monkeypatch):
    data = FILES[kind, name]
    wanted = decode(data)
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    found = decode(data)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("name", ["gray", "colour"])
@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png"])
def test_pillow_refuses_what_lost_its_tail(kind, name, bare):
    data = FILES[kind, name]
    tail = 13 if kind == "png" else 1
    for left in {len(data) - tail, *range(1, len(data) - tail, 97)}:
        for cut in (data[:left], data[:left].ljust(len(data), b"\0")):
            with pytest.raises(Unreadable):
                decode(cut)
    assert np.array_equal(decode(data + b"trailer"), decode(data))


def test_pillow_refuses_a_flipped_bit_in_a_png(bare):
    data, noise = FILES["png", "gray"], np.random.default_rng(0)
    for place in noise.integers(41, len(data) - 12, 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(noise.integers(8))
        with pytest.raises(Unreadable):
            decode(bytes(flipped))


@pytest.mark.parametrize(("kind", "package"), [("png", "imagecodecs"), ("tiff", "tifffile")])
def test_a_missing_package_is_not_the_images_fault(kind, package, monkeypatch):
    data = FILES[kind, "deep"]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=package):
        decode(data)


def test_the_log_says_once_what_stands_in(bare, caplog):
    for _ in range(3):
        decode(FILES["progressive", "gray"])
    assert [r.message for r in caplog.records] == [
        "simplejpeg is not installed, JPEGs are decoded by Pillow, slower; pip install simplejpeg"
    ]


def test_the_twin_is_encoded_by_pillow_to_the_same_goal(bare):
    assert find_encoder() == "Pillow"
    data = encode_jpeg(draw_oct("CNV", 76543, 1, 0), 50_000)
    assert 40_000 < len(data) <= 50_000
    assert decode(data).shape[2] == 1
