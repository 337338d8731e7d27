"""Packs: the pixels that were decoded, whole or not there, whatever happens while one is built."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from interrupted import fingerprint
from trees import CLASSES, draw, encode, list_tree, write_tree

from foveate.dataloaders.decoders.decode import decode
from foveate.dataloaders.errors import DataError, StorageError
from foveate.dataloaders.folder import scan
from foveate.dataloaders.pack import build as packing
from foveate.dataloaders.pack.build import find_or_build, pack_arrays
from foveate.dataloaders.pack.layout import (
    FORMAT,
    LEVELS,
    PADDING,
    Damaged,
    Pack,
    find_damage,
    open_pack,
    pyramid,
)

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"), train=8, test=2)


@pytest.fixture
def pack(root, tmp_path):
    return find_or_build(list_tree(root), tmp_path, threads=2)


@pytest.fixture
def fragile(tmp_path):
    """A tree that a test may hurt, and its file with a patient in its name."""
    root = write_tree(tmp_path / "tree", train=8, test=2)
    hurt = root / "train/CNV/jones mary/CNV-777-0.jpeg"
    hurt.parent.mkdir()
    hurt.write_bytes(encode(draw(0, 99, 99), "jpeg"))
    return root, hurt


def image(pack: Pack, number: int, level: int) -> np.ndarray:
    """(H,W,C): one level of one image."""
    first, shape = pack.start[number, level], pack.shape[number, level]
    return pack.pixels[first : first + shape.prod()].reshape(shape)


def refuse(kind: type, *words: str, **call: object) -> None:
    """find_or_build must raise one clear line of this kind that has all the words."""
    with pytest.raises(kind) as error:
        find_or_build(**{"threads": 2, **call})
    line = str(error.value)
    assert "\n" not in line and "jones" not in line and "CNV-" not in line
    assert all(word in line for word in words), line


def test_every_image_and_level_is_what_the_decoder_gave(root, pack):
    manifest = list_tree(root)
    assert pack.levels.tolist() == [len(pyramid(image(pack, n, 0))) for n in range(len(manifest))]
    assert not pack.unreadable
    for number, name in enumerate(manifest.files):
        for level, wanted in enumerate(pyramid(decode((root / name).read_bytes()))):
            assert np.array_equal(image(pack, number, level), wanted)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("height", "width"), [(256, 256), (301, 517), (1, 1), (127, 400), (128, 999)]
)
def test_levels_are_plain_means_within_the_rounding_of_each_level(height, width, deep):
    pixels = draw(3, height, width, 3, deep)
    exact = pixels.astype(np.float64)
    levels = pyramid(pixels)
    for number, level in enumerate(levels):
        assert level.dtype == pixels.dtype and level.shape == exact.shape
        assert np.abs(level - exact).max() <= 0.5 * number
        exact = np.pad(exact, [(0, n % 2) for n in exact.shape[:2]] + [(0, 0)], mode="edge")
        exact = exact.reshape(exact.shape[0] // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    assert len(levels) == 1 or min(levels[-1].shape[:2]) >= 64
    assert len(levels) == LEVELS or min(levels[-1].shape[:2]) < 128


def test_means_are_rounded_half_up_and_reach_the_ends_of_the_scale():
    for low, high in ((0, 1), (254, 255), (65_534, 65_535)):
        pixels = np.full((128, 128, 1), high, np.uint8 if high < 256 else np.uint16)
        pixels[::2] = low
        assert (pyramid(pixels)[1] == high).all()


def test_threads_and_place_change_no_byte(root, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)  # keeps times
    for threads, where in ((1, root), (4, moved)):
        find_or_build(list_tree(where), tmp_path / str(threads), threads)
    assert fingerprint(tmp_path / "1") == fingerprint(tmp_path / "4") != {}


def test_a_pack_in_memory_has_the_same_levels(root, pack):
    pixels = [image(pack, n, 0) for n in range(3)]
    memory = pack_arrays(pixels)
    assert np.array_equal(memory.start[:3], pack.start[:3])
    assert np.array_equal(memory.pixels[:-PADDING], pack.pixels[: len(memory.pixels) - PADDING])


def test_a_finished_pack_is_opened_without_a_write_or_a_lock(root, pack, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(packing, "alone", fail)
    monkeypatch.setattr(Path, "mkdir", fail)
    again = find_or_build(list_tree(root), pack.folder.parent.parent, 2)
    assert again.content_sha256 == pack.content_sha256


def test_classes_in_another_order_share_the_pack_and_the_identity(root, pack):
    turned = scan(root, CLASSES[::-1], ("train", "test"))
    again = find_or_build(turned, pack.folder.parent.parent, 2)
    assert (again.folder, again.content_sha256) == (pack.folder, pack.content_sha256)


def test_sixteen_bit_images_make_a_sixteen_bit_pack(tmp_path):
    for n, name in enumerate(CLASSES):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(encode(draw(n, 200, 150, 1 + 2 * n, deep=True), "png"))
    pack = find_or_build(scan(tmp_path, CLASSES, ("train",)), tmp_path / "cache", 2)
    assert pack.pixels.dtype == np.uint16
    assert np.array_equal(image(pack, 1, 0), draw(1, 200, 150, 3, deep=True))


def test_eight_and_sixteen_bits_together_are_refused_and_leave_nothing(fragile, tmp_path):
    root, _ = fragile
    (root / "test/CNV/CNV-1-9.png").write_bytes(encode(draw(1, 9, 9, deep=True), "png"))
    words = ("mixes uint8 and uint16 images", "image 2 is the first")
    refuse(DataError, *words, manifest=list_tree(root), cache=tmp_path)
    assert [path.suffix for path in (tmp_path / "packs").iterdir()] == [".lock"]


def test_a_damaged_image_is_listed_by_name_in_the_cache_only(fragile, tmp_path):
    root, hurt = fragile
    hurt.write_bytes(hurt.read_bytes()[:-40])
    manifest = list_tree(root)
    pack = find_or_build(manifest, tmp_path, 2)
    number = manifest.files.index(hurt.relative_to(root).as_posix())
    assert list(pack.unreadable) == [number] and "Premature end" in pack.unreadable[number]
    assert pack.levels[number] == 0 and (np.delete(pack.levels, number) > 0).all()
    assert "jones" not in repr(pack.unreadable)
    assert (pack.folder / "unreadable.json").stat().st_mode & 0o777 == 0o600
    (entry,) = json.loads((pack.folder / "unreadable.json").read_text())
    assert (root / entry["file"]) == hurt
    assert bytes.fromhex(entry["sha256"]) == pack.sha256[number].tobytes()


def test_a_set_of_which_nothing_can_be_read_still_has_a_pack(tmp_path):
    for name in CLASSES:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "a.png").write_bytes(b"")
    pack = find_or_build(scan(tmp_path, CLASSES, ("train",)), tmp_path / "cache", 2)
    assert pack.unreadable == {0: "empty file", 1: "empty file"}


def test_a_source_file_that_changed_or_went_since_it_was_listed_stops_the_build(fragile, tmp_path):
    root, hurt = fragile
    manifest = list_tree(root)
    hurt.write_bytes(encode(draw(5, 99, 99), "png"))
    refuse(DataError, "changed while", "start again", manifest=manifest, cache=tmp_path)
    hurt.unlink()
    words = (str(root / "train/CNV"), "cannot be opened: No such file")
    refuse(DataError, *words, manifest=manifest, cache=tmp_path)


def test_contents_that_changed_behind_an_old_name_size_and_time_are_noticed(fragile, tmp_path):
    root, hurt = fragile
    find_or_build(list_tree(root), tmp_path, 2)
    stat = hurt.stat()
    hurt.write_bytes(bytes(reversed(hurt.read_bytes())))
    os.utime(hurt, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    words = ("are not those", "foveate data pack rm")
    refuse(DataError, *words, manifest=list_tree(root), cache=tmp_path)


def rebuilt(root: Path, pack: Pack, said: str) -> None:
    """The next one who wants this pack builds it again, says why, and has the same bytes."""
    cache, spoken = pack.folder.parent.parent, []
    with pytest.raises(Damaged, match="foveate data pack rm"):
        open_pack(pack.folder)
    again = find_or_build(list_tree(root), cache, 2, say=spoken.append)
    assert said in spoken[0] and "building it again" in spoken[0]
    assert fingerprint(cache) == fingerprint_of_a_clean_build(root)
    assert again.content_sha256 == pack.content_sha256


@functools.cache
def fingerprint_of_a_clean_build(root: Path) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        find_or_build(list_tree(root), Path(folder), 1)
        return fingerprint(Path(folder))


@pytest.mark.parametrize(
    "name", ["pixels.npy", "start.npy", "shape.npy", "sha256.npy", "crc32.npy", "pack.json"]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_pack_is_built_again(root, pack, name, share):
    path = pack.folder / name
    with open(path, "r+b") as file:
        file.truncate(int(share * path.stat().st_size))
    rebuilt(root, pack, str(pack.folder))


@pytest.mark.parametrize("name", ["start", "shape", "sha256", "crc32"])
def test_a_changed_index_is_refused_and_built_again(root, pack, name):
    array = np.load(pack.folder / f"{name}.npy")
    array.flat[3] += 1
    np.save(pack.folder / f"{name}.npy", array)
    rebuilt(root, pack, "is damaged")


def test_a_pixel_file_of_another_length_is_refused(root, pack):
    shorter = np.array(pack.pixels[:-1])
    np.save(pack.folder / "pixels.npy", shorter)
    rebuilt(root, pack, "is damaged")


def test_one_flipped_bit_in_the_pixels_of_any_image_is_found(root, pack):
    numbers = range(len(pack.start))
    assert find_damage(pack, numbers) == []
    for number in numbers:
        place = 128 + int(pack.start[number, 0]) + 7
        with open(pack.folder / "pixels.npy", "r+b") as file:
            file.seek(place)
            before = file.read(1)
            file.seek(place)
            file.write(bytes([before[0] ^ 4]))
        assert find_damage(pack, numbers) == list(range(number + 1))
    rebuilt(root, pack, "is damaged")


@pytest.mark.parametrize(
    ("facts", "kind", "said"),
    [
        ({"format": FORMAT + 1}, StorageError, "upgrade"),
        ({"format": FORMAT - 1}, Damaged, "earlier version"),
        ({}, Damaged, "data pack rm"),
        ([], Damaged, "data pack rm"),
    ],
)
def test_a_pack_of_another_format_or_of_nonsense_is_refused(pack, facts, kind, said):
    (pack.folder / "pack.json").write_text(json.dumps(facts))
    with pytest.raises(StorageError, match=said) as error:
        open_pack(pack.folder)
    assert type(error.value) is kind


def test_a_pack_that_a_newer_version_made_is_never_removed(root, pack):
    (pack.folder / "pack.json").write_text(json.dumps({"format": FORMAT + 1}))
    words = ("this version reads", "upgrade")
    refuse(StorageError, *words, manifest=list_tree(root), cache=pack.folder.parent.parent)
    assert (pack.folder / "pixels.npy").exists()


def test_a_pack_whose_removal_was_interrupted_is_built_again(root, pack):
    before = fingerprint(pack.folder.parent.parent)
    (pack.folder / "pack.json").unlink()
    find_or_build(list_tree(root), pack.folder.parent.parent, 2)
    assert fingerprint(pack.folder.parent.parent) == before


def test_a_pack_larger_than_memory_is_opened(root, tmp_path):
    pack = find_or_build(list_tree(root), tmp_path, 2)
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    memory = 1024 * sum(int(lines[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
    count = memory + memory // 2
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},), }}".ljust(117) + "\n"
    with open(pack.folder / "pixels.npy", "r+b") as file:
        file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + head.encode())
        file.truncate(128 + count)  # a hole takes no room on the disk
    facts = json.loads((pack.folder / "pack.json").read_text())
    (pack.folder / "pack.json").write_text(json.dumps(facts | {"elements": count}))
    assert len(open_pack(pack.folder).pixels) == count


def test_a_system_that_opens_no_file_costs_no_pack(root, tmp_path, monkeypatch):
    manifest, whole = list_tree(root), np.load
    pixels = find_or_build(manifest, tmp_path, 2).folder / "pixels.npy"

    def load(path: Path, **words: object) -> np.ndarray:
        if path.name == "pixels.npy":
            raise OSError(errno.EMFILE, "Too many open files")
        return whole(path, **words)

    before = pixels.stat()
    monkeypatch.setattr(np, "load", load)
    with pytest.raises(StorageError, match="cannot be opened: Too many open files"):
        find_or_build(manifest, tmp_path, 2)
    assert pixels.stat() == before
