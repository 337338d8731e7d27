"""Listing image folders: what is there, in an order of its own, and what is said if it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.folder import find_classes, find_group, scan

CLASSES = ("CNV", "DRUSEN")
OCT = r"^[A-Z]+-(\d+)-"


def plant(root: Path, *names: str) -> Path:
    """Files of one byte; the listing reads none of them."""
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def two(root: Path, *more: str) -> Path:
    """The smallest folder that is taken, and more."""
    return plant(root, "train/CNV/a.jpeg", "train/DRUSEN/b.jpeg", *more)


def say(root: Path, classes: tuple[str, ...] = CLASSES, parts=("train",), group: str = "") -> str:
    """The one line that a refused folder gives."""
    with pytest.raises(DataError) as error:
        scan(root, classes, parts, group)
    assert "\n" not in str(error.value) and error.value.exit_code == 20
    return str(error.value)


def test_files_are_sorted_by_name_whatever_the_file_system_says(tmp_path, monkeypatch):
    root = plant(tmp_path, *(f"train/{c}/{n}.jpeg" for n in (3, 10, 1) for c in CLASSES))
    plain = scan(root, CLASSES, ("train",))
    listed = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: reversed(list(listed(folder))))
    turned = scan(root, CLASSES, ("train",))
    assert plain.files == turned.files == tuple(sorted(plain.files))
    assert plain.listing_sha256 == turned.listing_sha256
    assert plain.label.tolist() == [0, 0, 0, 1, 1, 1]


def test_upper_case_spaces_and_foreign_letters_are_listed_dot_files_and_others_are_not(tmp_path):
    wanted = ["a b.JPEG", "Patient \u00e9\u4e2d.Png", "c.TIF", "d.tiff", "e.jpg"]
    others = [".hidden.jpeg", "._e.jpg", "Thumbs.db", "notes.txt"]
    root = two(tmp_path, *(f"train/CNV/{name}" for name in wanted + others))
    (root / "train/CNV/gone.jpeg").symlink_to(root / "nowhere")
    manifest = scan(root, CLASSES, ("train",))
    assert set(manifest.files) == {"train/DRUSEN/b.jpeg", "train/CNV/a.jpeg"} | {
        f"train/CNV/{name}" for name in wanted
    }
    assert manifest.strangers == 3  # Thumbs.db, notes.txt and the link to nothing


def test_a_name_that_is_no_utf8_is_listed_and_hashed(tmp_path):
    two(tmp_path)
    (tmp_path / os.fsdecode(b"train/CNV/\xff\xfe.jpeg")).write_bytes(b"x")
    manifest = scan(tmp_path, CLASSES, ("train",))
    assert len(manifest) == 3 and len(manifest.listing_sha256) == 64
    assert all((tmp_path / name).exists() for name in manifest.files)


def test_folders_in_a_class_folder_are_read_as_imagefolder_reads_them(tmp_path):
    root = two(tmp_path, "train/CNV/patient 7/eye/c.png", "train/CNV/.git/d.png")
    found = scan(root, CLASSES, ("train",)).files
    assert found == ("train/CNV/a.jpeg", "train/CNV/patient 7/eye/c.png", "train/DRUSEN/b.jpeg")


def test_links_to_class_folders_are_followed_and_loops_are_not(tmp_path):
    store = plant(tmp_path / "store", "one/a.jpeg", "one/deep/b.jpeg")
    root = plant(tmp_path / "data", "train/DRUSEN/c.jpeg")
    (root / "train/CNV").symlink_to(store / "one")
    (store / "one/deep/loop").symlink_to(store / "one")
    found = scan(root, CLASSES, ("train",)).files
    assert found == ("train/CNV/a.jpeg", "train/CNV/deep/b.jpeg", "train/DRUSEN/c.jpeg")


@pytest.mark.parametrize("part", ["train", "./train", "other/../train", "train/"])
def test_names_lead_from_the_root_to_the_file_however_the_part_is_written(tmp_path, part):
    root = two(tmp_path, "other/x.txt")
    manifest = scan(root, CLASSES, (part,))
    assert len(manifest.members(part)) == 2
    assert all((root / name).is_file() for name in manifest.files)


def test_a_part_named_twice_is_listed_once(tmp_path):
    assert len(scan(two(tmp_path), CLASSES, ("train", "train"))) == 2


def test_labels_follow_the_order_that_the_recipe_gives(tmp_path):
    manifest = scan(two(tmp_path), CLASSES[::-1], ("train",))
    assert dict(zip(manifest.files, manifest.label, strict=True)) == {
        "train/CNV/a.jpeg": 1,
        "train/DRUSEN/b.jpeg": 0,
    }
    assert manifest.counts(manifest.members("train")) == {"DRUSEN": 1, "CNV": 1}
    assert manifest.listing_sha256 == scan(tmp_path, CLASSES, ("train",)).listing_sha256


def test_the_listing_hash_sees_names_sizes_and_times_but_not_the_place(tmp_path):
    root = two(tmp_path / "one")
    first = scan(root, CLASSES, ("train",)).listing_sha256
    moved = root.rename(tmp_path / "two")
    assert scan(moved, CLASSES, ("train",)).listing_sha256 == first
    file = moved / "train/CNV/a.jpeg"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert scan(moved, CLASSES, ("train",)).listing_sha256 != first


def test_the_group_is_what_the_parenthesis_finds():
    assert find_group(OCT, "train/CNV/CNV-1016042-17.jpeg") == "1016042"
    assert find_group(OCT, "train/CNV/oddly named.jpeg") == "train/CNV/oddly named.jpeg"
    assert find_group("", "train/CNV/CNV-1-1.jpeg") == "train/CNV/CNV-1-1.jpeg"
    assert find_group("x(\\d*)", "a/x.jpeg") == "a/x.jpeg"  # an empty group is none
    assert find_group("y|x(z)?", "a/x.jpeg") == "a/x.jpeg"  # a parenthesis that took no part


def test_files_of_one_name_in_two_parts_are_no_leak(tmp_path):
    root = plant(
        tmp_path, *(f"{part}/{c}/image(1).jpg" for part in ("train", "test") for c in CLASSES)
    )
    assert len(set(scan(root, CLASSES, ("train", "test")).group)) == 4


def test_a_missing_root_or_part_says_where_to_point(tmp_path):
    assert "no data folder" in say(tmp_path / "none")
    plant(tmp_path, "OCT2017/train/CNV/a.jpeg")
    assert "has no folder 'train' (it has OCT2017)" in say(tmp_path)


def test_class_folders_that_differ_give_the_flag_to_copy(tmp_path):
    root = two(tmp_path, "train/no tumor/c.png")
    assert "--task.classes CNV DRUSEN 'no tumor'" in say(root)
    assert "the recipe names CNV, DME" in say(root, ("CNV", "DME"))
    assert "the recipe names CNV, CNV" in say(root, ("CNV", "CNV", "DRUSEN"))


def test_a_class_without_images_or_a_single_class_is_refused(tmp_path):
    root = plant(tmp_path, "train/CNV/a.jpeg", "train/DRUSEN/notes.txt", "one/CNV/a.jpeg")
    assert f"no image in class folder {root / 'train/DRUSEN'}" in say(root)
    assert "one class only (CNV)" in say(root, ("CNV",), ("one",))
    (root / "empty").mkdir()
    assert "has the class folders none" in say(root, CLASSES, ("empty",))


@pytest.mark.parametrize(
    ("group", "said"), [("(", "no regular expression"), (r"\d+", "parenthesis")]
)
def test_a_pattern_that_cannot_find_a_group_is_refused(tmp_path, group, said):
    assert said in say(two(tmp_path), group=group)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    root = two(tmp_path)
    listed = os.scandir

    def refuse(folder):
        if Path(folder).name == "DRUSEN":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert f"cannot list {root / 'train/DRUSEN'}: Permission denied" in say(root)


def test_classes_are_found_sorted(tmp_path):
    assert find_classes(two(tmp_path), "train") == CLASSES
