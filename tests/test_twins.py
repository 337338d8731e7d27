"""The drawn twins of the brain MRI and chest X-ray sets: the same every time, and learnable."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_phantoms import tree_hashes

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.phantoms import brain, xray
from foveate.dataloaders.phantoms.tree import share_out
from foveate.dataloaders.phantoms.twins import TWINS
from foveate.engine.catalog import find
from foveate.engine.fit import fit

TRAIN, TEST = 16, 8
KINDS = {"brain": brain, "xray": xray}
PART = {"brain": "Training", "xray": "train"}


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    """Each kind in turn."""
    return request.param


@pytest.fixture(scope="module")
def twin(kind, tmp_path_factory) -> Path:
    """A small finished twin. Tests read it, and leave it as they found it."""
    root = tmp_path_factory.mktemp(kind)
    TWINS[kind](root, train=TRAIN, test=TEST)
    return root


def images(root: Path) -> list[Path]:
    """Every image file."""
    return sorted(path for path in root.rglob("*.jp*g"))


def test_the_same_arguments_draw_the_same_bytes_and_others_do_not(kind):
    names = {p.name: p for p in KINDS[kind].list_pictures(TRAIN, TEST, 0)}
    again = {p.name: p for p in KINDS[kind].list_pictures(TRAIN, TEST, 0)}
    first, second = sorted(names)[:2]
    assert names[first].draw() == again[first].draw() != names[second].draw()
    other = KINDS[kind].list_pictures(TRAIN, TEST, 1)[0]
    assert other.draw() != KINDS[kind].list_pictures(TRAIN, TEST, 0)[0].draw()


def test_the_classes_have_the_shares_of_the_real_set(kind, twin):
    module = KINDS[kind]
    for (part, shares), total in zip(module.PARTS.items(), (TRAIN, TEST), strict=True):
        found = [len(images(twin / part / label)) for label in module.LABELS]
        assert found == share_out(total, shares) and sum(found) == total and min(found) > 0


def test_the_recipe_names_the_folders_that_are_drawn(kind, twin):
    data = find({"brain": "brain_mri", "xray": "chest_xray"}[kind]).data
    assert tuple(KINDS[kind].PARTS) == (data.train, data.test)
    assert tuple(KINDS[kind].PARTS.values()) == (data.expect_train, data.expect_test)


def test_files_are_of_the_real_kind(kind, twin):
    pictures = [Image.open(path) for path in images(twin)]
    assert {p.mode for p in pictures} == {"brain": {"RGB"}, "xray": {"L"}}[kind]
    assert len({p.size for p in pictures}) >= 4
    assert min(min(p.size) for p in pictures) >= {"brain": 180, "xray": 238}[kind]


def test_a_fifth_of_the_films_are_progressive():
    drawn = [p for p in xray.list_pictures(40, 10, 0) if "NORMAL" in p.name]
    kinds = [Image.open(io.BytesIO(p.draw())).info.get("progressive", 0) for p in drawn]
    assert 0 < sum(kinds) < len(kinds) / 2


def test_films_are_named_as_the_real_ones_and_patients_keep_to_one_side():
    names = [picture.name for picture in xray.list_pictures(400, 100, 0)]
    assert len(set(names)) == 500
    patterns = Counter()
    owner: dict[str, set[str]] = {}
    for name in names:
        part, label, file = name.split("/")
        patterns[re.sub(r"\d+", "#", file)] += 1
        stem = file.removeprefix("NORMAL2-")
        patient = stem.split("_")[0] if label == "PNEUMONIA" else "-".join(stem.split("-")[:2])
        owner.setdefault(patient, set()).add(f"{part}/{label}")
    films = {"IM-#-#.jpeg", "NORMAL#-IM-#-#.jpeg"}
    assert patterns.keys() == films | {"person#_bacteria_#.jpeg", "person#_virus_#.jpeg"}
    assert all(len(places) == 1 for places in owner.values())
    assert len(owner) < 450, "some patients have more than one film"


def test_the_head_does_not_depend_on_the_class():
    shapes = {label: brain.draw_slice(label, 5, 0).shape for label in brain.LABELS}
    assert len(set(shapes.values())) == 1
    plain, grown = brain.draw_slice("no_tumor", 5, 0), brain.draw_slice("pituitary_tumor", 5, 0)
    rows, changed = plain.shape[0], plain != grown
    assert changed.any() and not changed[: rows // 3].any()


def test_a_second_call_changes_nothing_and_a_killed_one_is_completed(kind, twin):
    before = tree_hashes(twin)
    times = {path: path.stat().st_mtime_ns for path in twin.rglob("*")}
    TWINS[kind](twin, train=TRAIN, test=TEST)
    assert {path: path.stat().st_mtime_ns for path in twin.rglob("*")} == times
    first, second, third = images(twin)[::8]
    (twin / "twin.json").unlink()
    first.unlink()
    second.write_bytes(b"")
    third.rename(third.with_suffix(".part")).write_bytes(b"half an image")
    calls: list[tuple[int, int]] = []
    TWINS[kind](twin, train=TRAIN, test=TEST, progress=lambda *call: calls.append(call))
    assert tree_hashes(twin) == before
    assert calls == [(done, TRAIN + TEST) for done in range(1, TRAIN + TEST + 1)]


def test_another_twin_or_a_folder_of_real_images_is_refused(kind, twin, tmp_path):
    with pytest.raises(DataError, match="holds another twin"):
        TWINS[kind](twin, train=TRAIN, test=TEST, seed=1)
    stranger = tmp_path / PART[kind] / KINDS[kind].LABELS[0] / "person7_virus_1.jpeg"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"a real patient")
    with pytest.raises(DataError, match="images of another set") as caught:
        TWINS[kind](tmp_path, train=4, test=4)
    assert "person7" not in str(caught.value)
    assert len(images(tmp_path)) == 1


def test_the_card_says_what_was_drawn(kind, twin):
    card = json.loads((twin / "twin.json").read_text())
    assert card == {"format": 1, "kind": kind, "train": TRAIN, "test": TEST, "seed": 0}


def thumbnails(folder: Path, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 33) a histogram and the mean of each image, and (N) class numbers."""
    rows, classes = [], []
    for number, label in enumerate(labels):
        for path in images(folder / label):
            pixels = np.asarray(Image.open(path).convert("L"))
            histogram = np.histogram(pixels, 32, (0, 256))[0] / pixels.size
            rows.append([*histogram, pixels.mean() / 255])
            classes.append(number)
    return np.array(rows), np.array(classes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("brain", 0.55), ("xray", 0.75)])
def test_brightness_does_not_give_the_class_away(name, most, tmp_path):
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.metrics import balanced_accuracy_score

    module = KINDS[name]
    TWINS[name](tmp_path)
    folders = [tmp_path / part for part in module.PARTS]
    (train, train_y), (test, test_y) = (thumbnails(f, module.LABELS) for f in folders)
    mean, std = train.mean(0), train.std(0) + 1e-9
    scores = []
    for strength in (0.001, 0.01, 0.1, 1):
        model = linear.LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
        model.fit((train - mean) / std, train_y)
        scores.append(balanced_accuracy_score(test_y, model.predict((test - mean) / std)))
    assert max(scores) <= most


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "least"), [("brain_mri", 0.6), ("chest_xray", 0.7)])
def test_a_quickstart_learns_more_than_brightness(name, least, tmp_path):
    recipe = find(f"{name}:quickstart")
    receipt = fit(replace(recipe), out=tmp_path / "run")
    assert receipt.scores["test"]["images"] == 100
    assert receipt.scores["test"]["balanced_accuracy"] >= least
