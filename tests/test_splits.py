"""Holding out: by image or by patient, from names and the seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.manifest import Manifest
from foveate.dataloaders.split.hold_out import hold_out, overlap

CLASSES = ("CNV", "DME", "NORMAL")
RECORDED = [
    "CNV/0.jpeg",
    "CNV/8.jpeg",
    "DME/1.jpeg",
    "DME/7.jpeg",
    "NORMAL/8.jpeg",
    "NORMAL/9.jpeg",
]  # seed 42


def listing(names: list[str], group: list[str] | None = None) -> Manifest:
    """A manifest of files `<CLASS>/<name>` without a disk."""
    label = np.array([CLASSES.index(name.split("/")[0]) for name in names])
    zeros = np.zeros(len(names), np.int64)
    groups = np.array(group or names)
    part = np.full(len(names), "train")
    return Manifest(Path("data"), CLASSES, tuple(names), label, part, groups, zeros, zeros)


def patients(images: int = 300, each: int = 3) -> Manifest:
    """A patient has images of more than one class."""
    names = sorted(f"{CLASSES[n % 3]}/{n // each}-{n}.jpeg" for n in range(images))
    return listing(names, [name.split("/")[1].split("-")[0] for name in names])


@pytest.mark.parametrize("by", ["label", "group"])
def test_both_sides_together_are_the_members_and_share_nothing(by):
    manifest = patients()
    members = np.arange(20, 280)
    fit, held = hold_out(manifest, members, by, 0.2, seed=0)
    assert np.array_equal(np.union1d(fit, held), members)
    assert not set(fit) & set(held)
    assert np.array_equal(fit, np.sort(fit)) and np.array_equal(held, np.sort(held))


def test_by_label_each_class_gives_its_rounded_share():
    manifest = listing(
        [f"{name}/{n}" for name, k in zip(CLASSES, (7, 23, 100), strict=True) for n in range(k)]
    )
    _, held = hold_out(manifest, np.arange(130), "label", 0.2, seed=0)
    assert manifest.counts(held) == {"CNV": 1, "DME": 5, "NORMAL": 20}


def test_by_group_no_patient_is_on_both_sides_and_each_class_has_its_share():
    manifest = patients()
    fit, held = hold_out(manifest, np.arange(300), "group", 0.2, seed=0)
    assert overlap(manifest, fit, held) == 0
    assert min(manifest.counts(held).values()) >= 20
    assert len(held) < 100


def test_by_label_patients_are_on_both_sides_and_counted():
    manifest = patients()
    assert overlap(manifest, *hold_out(manifest, np.arange(300), "label", 0.5, seed=0)) > 10


def test_a_planted_leak_is_found():
    manifest = listing(["CNV/a", "CNV/b", "DME/c", "DME/d"], ["1", "2", "2", "3"])
    assert overlap(manifest, np.array([0, 1]), np.array([2, 3])) == 1


def test_the_seed_moves_the_cut_and_nothing_else_does():
    manifest, members = patients(), np.arange(300)
    cuts = [hold_out(manifest, members, "group", 0.2, seed)[1].tolist() for seed in range(3)]
    assert len({tuple(cut) for cut in cuts}) == 3
    shuffled = np.random.default_rng(0).permutation(members)
    assert hold_out(manifest, shuffled, "group", 0.2, 0)[1].tolist() == cuts[0]


def test_the_cut_is_the_recorded_one():
    names = [f"{name}/{n}.jpeg" for name in CLASSES for n in range(10)]
    _, held = hold_out(listing(names), np.arange(30), "label", 0.2, seed=42)
    assert [names[n] for n in held] == RECORDED


def test_images_that_are_no_members_never_appear():
    manifest = patients()
    fit, held = hold_out(manifest, np.arange(0, 300, 2), "group", 0.3, seed=0)
    assert not {n % 2 for n in [*fit, *held]} - {0}


@pytest.mark.parametrize(("by", "share"), [("none", 0.2), ("label", 0.0)])
def test_nothing_is_held_out_where_nothing_is_wanted(by, share):
    fit, held = hold_out(patients(), np.arange(300), by, share, seed=0)
    assert len(fit) == 300 and len(held) == 0


@pytest.mark.parametrize("by", ["label", "group"])
def test_a_class_too_small_for_two_sides_is_named(by):
    names = ["CNV/only", *(f"DME/{n}" for n in range(9)), *(f"NORMAL/{n}" for n in range(9))]
    with pytest.raises(DataError, match="class CNV has 1 images") as error:
        hold_out(listing(names), np.arange(19), by, 0.2, seed=0)
    assert "\n" not in str(error.value)


def test_a_class_that_another_class_takes_whole_is_named():
    # Every CNV patient is also a DME patient: holding out enough of DME takes all of CNV.
    names = [*(f"CNV/{n}" for n in range(4)), *(f"DME/{n}" for n in range(40))]
    names += [f"NORMAL/{n}" for n in range(10)]
    group = ["p", "q", "p", "q"] + ["p"] * 20 + ["q"] * 20 + [f"n{n}" for n in range(10)]
    with pytest.raises(DataError, match="class CNV"):
        hold_out(listing(names, group), np.arange(54), "group", 0.6, seed=0)


def test_a_way_of_cutting_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'label', 'group' or 'none'"):
        hold_out(patients(), np.arange(300), "patient", 0.2, seed=0)


def test_names_that_are_no_utf8_can_be_cut():
    names = [f"{name}/{n}\udcff.jpeg" for name in CLASSES for n in range(5)]
    assert len(hold_out(listing(names), np.arange(15), "label", 0.2, seed=0)[1]) == 3
