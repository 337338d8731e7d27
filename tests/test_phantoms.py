"""The drawn twin of OCT2017: the same tree every time, and not solvable without looking closely."""

from __future__ import annotations

import json
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.phantoms.oct import LABELS, encode_jpeg, list_names, write_oct
from foveate.dataloaders.phantoms.scan import draw_oct

TRAIN, TEST = 32, 12


def tree_hashes(root: Path) -> dict[str, str]:
    """Every file below root and the hash of what is in it."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): sha256(f.read_bytes()).hexdigest() for f in files}


def patients(folder: Path) -> set[str]:
    """The patients whose images lie in a class folder."""
    return {path.stem.split("-")[1] for path in folder.glob("*.jpeg")}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished twin. Tests read it, and leave it as they found it."""
    root = tmp_path_factory.mktemp("twin")
    write_oct(root, train=TRAIN, test=TEST)
    return root


@pytest.mark.parametrize("label", LABELS)
def test_same_arguments_draw_the_same_bytes(label: str) -> None:
    first, second = draw_oct(label, 76543, 2, 1), draw_oct(label, 76543, 2, 1)
    assert first.dtype == np.uint8
    assert first.tobytes() == second.tobytes()
    assert encode_jpeg(first, 50_000) == encode_jpeg(second, 50_000)


def test_every_argument_changes_the_drawing() -> None:
    base = ("CNV", 76543, 2, 1)
    others = [
        ("DME", 76543, 2, 1),
        ("CNV", 76544, 2, 1),
        ("CNV", 76543, 3, 1),
        ("CNV", 76543, 2, 0),
    ]
    drawing = draw_oct(*base)
    assert not any(np.array_equal(drawing, draw_oct(*other)) for other in others)


def test_the_width_belongs_to_the_patient_and_not_to_the_class() -> None:
    widths = {
        p: {draw_oct(label, p, 1, 0).shape[1] for label in LABELS} for p in range(70000, 70012)
    }
    assert all(len(found) == 1 for found in widths.values())
    assert set.union(*widths.values()) == {512, 768}


def test_shapes_and_file_sizes_are_those_of_the_real_exports(twin: Path) -> None:
    files = sorted(twin.rglob("*.jpeg"))
    sizes = np.array([file.stat().st_size for file in files])
    shapes = {simplejpeg.decode_jpeg_header(file.read_bytes())[:3] for file in files}
    assert shapes <= {(496, 512, "Gray"), (496, 768, "Gray")}
    assert np.mean((sizes > 35_000) & (sizes < 65_000)) >= 0.95
    assert 45_000 < sizes.mean() < 55_000


def test_classes_are_balanced_and_names_look_like_oct2017(twin: Path) -> None:
    for split, total in (("train", TRAIN), ("test", TEST)):
        for label in LABELS:
            files = list((twin / split / label).iterdir())
            assert len(files) == total // len(LABELS)
            for file in files:
                kind, patient, number = file.stem.split("-")
                assert kind == label and 5 <= len(patient) <= 7 and 1 <= int(number) <= 8


def test_totals_that_four_does_not_divide_are_met() -> None:
    names = list_names(10, 3, 0)
    assert sum(name.split == "train" for name in names) == 10
    assert len(names) == 13


def test_patients_are_disjoint_between_splits_and_classes() -> None:
    groups = defaultdict(set)
    for name in list_names(1600, 400, 0):
        groups[name.split, name.label].add(name.patient)
    assert len(groups) == 8
    assert len(set.union(*groups.values())) == sum(map(len, groups.values()))


def test_patients_on_disk_are_disjoint(twin: Path) -> None:
    found = [patients(twin / split / label) for split in ("train", "test") for label in LABELS]
    assert len(set.union(*found)) == sum(map(len, found))


def test_the_card_says_what_was_drawn(twin: Path) -> None:
    card = json.loads((twin / "twin.json").read_text())
    assert card == {"format": 1, "kind": "oct", "train": TRAIN, "test": TEST, "seed": 0}


def test_a_second_call_changes_nothing(twin: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in twin.rglob("*")}
    write_oct(twin, train=TRAIN, test=TEST)
    assert {path: path.stat().st_mtime_ns for path in twin.rglob("*")} == before


def test_a_killed_call_is_completed_to_the_same_tree(twin: Path) -> None:
    before = tree_hashes(twin)
    first, second, third = sorted(twin.rglob("*.jpeg"))[::16]
    (twin / "twin.json").unlink()
    first.unlink()
    second.write_bytes(b"")
    third.rename(third.with_suffix(".part")).write_bytes(b"half an image")
    calls: list[tuple[int, int]] = []
    write_oct(twin, train=TRAIN, test=TEST, progress=lambda *call: calls.append(call))
    assert tree_hashes(twin) == before
    assert calls == [(done, TRAIN + TEST) for done in range(1, TRAIN + TEST + 1)]


def test_another_seed_in_the_same_folder_is_refused(twin: Path) -> None:
    with pytest.raises(DataError, match="choose an empty folder"):
        write_oct(twin, train=TRAIN, test=TEST, seed=1)


def test_a_damaged_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twin.json").write_text("{")
    with pytest.raises(DataError, match="delete it"):
        write_oct(tmp_path, train=4, test=4)


def test_a_folder_with_other_images_is_refused_and_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / "train" / "CNV" / "CNV-1016042-1.jpeg"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"a real patient")
    with pytest.raises(DataError, match="train/CNV holds images of another set") as caught:
        write_oct(tmp_path, train=4, test=4)
    assert "1016042" not in str(caught.value)
    assert list(tree_hashes(tmp_path)) == ["train/CNV/CNV-1016042-1.jpeg"]


def thumbnail_and_histogram(path: Path) -> np.ndarray:
    """16 x 16 area means and a 32-bin histogram: what can be told without seeing details."""
    image = simplejpeg.decode_jpeg(path.read_bytes(), colorspace="GRAY")[:, :, 0]
    rows, columns = image.shape
    thumbnail = image.reshape(16, rows // 16, 16, columns // 16).mean((1, 3))
    histogram = np.histogram(image, 32, (0, 256))[0] / image.size
    return np.concatenate([thumbnail.ravel(), histogram])


def features(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, 288) features and (N) class numbers of one split."""
    pairs = [(path, n) for n, label in enumerate(LABELS) for path in (folder / label).iterdir()]
    rows = np.stack([thumbnail_and_histogram(path) for path, _ in pairs])
    return rows, np.array([n for _, n in pairs])


@pytest.mark.slow
def test_thumbnails_and_histograms_do_not_give_the_class_away(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    write_oct(tmp_path)
    (train, train_y), (test, test_y) = features(tmp_path / "train"), features(tmp_path / "test")
    mean, std = train.mean(0), train.std(0) + 1e-9
    scores = []
    for strength in (0.001, 0.01, 0.1, 1):
        model = linear.LogisticRegression(C=strength, max_iter=1000)
        model.fit((train - mean) / std, train_y)
        scores.append(model.score((test - mean) / std, test_y))
    assert max(scores) <= 0.65
