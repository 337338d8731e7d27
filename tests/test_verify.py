"""`foveate data verify`: every planted damage and leak is found, and no clean file is accused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from damage import KINDS, hurt, hurt_files
from pictures import write_pictures
from PIL import Image
from trees import draw, encode

from foveate.dataloaders.errors import DataError
from foveate.dataloaders.folder import find_group
from foveate.dataloaders.phantoms.twins import TWINS
from foveate.dataloaders.verify.facts import examine
from foveate.dataloaders.verify.listing import list_images
from foveate.dataloaders.verify.near import NEAR, find_near
from foveate.dataloaders.verify.record import NAME, read_record
from foveate.dataloaders.verify.survey import Survey, examine_all, survey
from foveate.engine.cli import main

PATIENT = r"-(\d+)-"


def look(root: Path, pattern: str = "", **known: object) -> Survey:
    found = list_images(root)
    group = [find_group(pattern, name) for name in found.files] if pattern else []
    return survey(found, examine_all(found, 2), group=group, **known)


def kinds(seen: Survey) -> dict[str, int]:
    return {finding.kind: len(finding.sets) for finding in seen.findings}


def files_of(seen: Survey, *names: str) -> set[Path]:
    return {
        seen.found.root / seen.found.files[n]
        for finding in seen.findings
        if finding.kind in names
        for numbers in finding.sets
        for n in numbers
    }


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """216 phantoms of the brain, each of another head."""
    root = tmp_path_factory.mktemp("twin") / "brain"
    TWINS["brain"](root, train=180, test=36, seed=3)
    return root


@pytest.fixture
def copy(twin, tmp_path):
    """The same to be hurt."""
    return Path(shutil.copytree(twin, tmp_path / "set"))


def test_a_twin_is_clean_and_no_two_phantoms_are_called_alike(twin):
    seen = look(twin)
    assert seen.clean and not seen.findings


@pytest.mark.parametrize("count", [6])
def test_with_a_record_all_damage_of_six_kinds_is_found_and_nothing_else(copy, count):
    assert main(["data", "verify", str(copy), "--record", "-q"]) == 0
    hurts = hurt_files(list(copy.rglob("*.jp*g")), count)
    seen = look(copy, record=read_record(copy))
    assert files_of(seen, "unreadable", "changed") == set(hurts) and not seen.clean
    assert {path for path in hurts if path not in files_of(seen, "changed")} == set()


def test_without_a_record_what_decodes_to_another_picture_is_not_found(twin, tmp_path):
    root = Path(shutil.copytree(twin, tmp_path / "set"))
    hurts = hurt_files(list(root.rglob("*.jp*g")), 60)
    found = files_of(look(root), "unreadable")
    assert found <= set(hurts)  # nobody is accused
    share = Counter(kind for path, kind in hurts.items() if path in found)
    assert all(share[kind] == 10 for kind in KINDS if kind not in ("zeroed", "flipped"))
    assert share["flipped"] < 10  # why there is a record


def test_a_huge_claim_is_refused_before_memory_is_taken(twin, tmp_path):
    path = tmp_path / "huge.jpeg"
    path.write_bytes(next(twin.rglob("*.jp*g")).read_bytes())
    path.write_bytes(hurt(path.read_bytes(), "huge", 0))
    tracemalloc.start()
    fact = examine(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "60000 x 60000 pixels" in fact.reason and peak < 10_000_000


def test_a_png_that_is_called_jpeg_is_no_damage(tmp_path):
    path = tmp_path / "x.jpeg"
    path.write_bytes(encode(draw(0, 40, 50), "png"))
    assert (examine(path).reason, examine(path).kind) == ("", "PNG")


def test_a_patient_in_two_parts_is_a_leak(tmp_path):
    root = write_pictures(tmp_path / "set", train=12, test=0)
    path = next((root / "train/flat").glob("flat-101-*"))
    moved = root / "test/flat" / path.name
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    seen = look(root, PATIENT)
    (leak,) = (f for f in seen.findings if f.level == "leak")
    assert leak.kind == "patient" and leak.text.startswith("1 patients (groups) are in both")
    assert moved in files_of(seen, "patient") and len(leak.sets) == 4
    assert "patient" not in kinds(look(root))  # nothing says whose an image is


def test_the_same_bytes_in_two_parts_are_a_leak_and_under_two_labels_a_warning(copy):
    one = sorted((copy / "Training/no_tumor").iterdir())[0]
    shutil.copy(one, copy / "Testing/no_tumor/other name.jpg")
    two = sorted((copy / "Training/glioma_tumor").iterdir())[0]
    shutil.copy(two, copy / "Training/no_tumor/third.jpg")
    seen = look(copy)
    assert kinds(seen) == {"copy": 1, "label": 1} and not seen.clean
    assert files_of(seen, "copy") == {one, copy / "Testing/no_tumor/other name.jpg"}
    assert files_of(seen, "label") == {two, copy / "Training/no_tumor/third.jpg"}


def disguise(data: bytes, crop: float, brighter: float) -> bytes:
    """A JPEG of quality 70 of the same picture, `crop` of its sides gone."""
    image = Image.open(io.BytesIO(data)).convert("L")
    x, y = (round(side * crop / 2) for side in image.size)
    image = image.crop((x, y, image.width - x, image.height - y))
    out = io.BytesIO()
    image.point(lambda level: min(255, int(level * brighter + 3))).save(out, "JPEG", quality=70)
    return out.getvalue()


@pytest.mark.parametrize(("crop", "brighter", "least"), [(0, 1, 45), (0.01, 1.1, 44)])
def test_copies_in_other_bytes_are_found_across_parts(twin, copy, crop, brighter, least):
    for path in sorted((twin / "Training").rglob("*.jp*g"))[::4]:
        there = copy / "Testing" / path.parent.name / f"again-{path.name}"
        there.write_bytes(disguise(path.read_bytes(), crop, brighter))
    seen = look(copy)
    (near,) = (f for f in seen.findings if f.kind == "near-across")
    pairs = [{seen.found.files[n].rpartition("/")[2].removeprefix("again-") for n in pair}
             for pair in near.sets]  # fmt: skip
    assert least <= sum(len(pair) == 1 for pair in pairs) and seen.clean  # candidates, not proof
    assert all(len(pair) == 1 for pair in pairs)


def test_blocks_of_the_comparison_lose_no_pair(monkeypatch):
    prints = np.random.default_rng(0).integers(0, 256, (300, 24)).astype(np.uint8)
    prints[7] = prints[290]
    prints[250] = prints[3] ^ np.eye(1, 24, dtype=np.uint8)[0] * 7  # three signs apart
    prints[100] = ~prints[99]
    pairs, apart = find_near(prints)
    monkeypatch.setattr("foveate.dataloaders.verify.near.TILE", 64)
    tiled, tiled_apart = find_near(prints)
    assert pairs.tolist() == tiled.tolist() == [[3, 250], [7, 290]]
    assert apart.tolist() == tiled_apart.tolist() == [3, 0] and NEAR >= 3


def test_layouts_are_read_as_they_are(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "Test/a/3.png", "Test/b/deep/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "train/c").mkdir()
    (tmp_path / "train/notes.txt").touch()
    both = list_images(tmp_path)
    assert both.part.tolist() == ["Test", "Test", "train", "train"]
    assert both.label.tolist() == ["a", "b", "a", "b"]
    assert (both.empty, both.strangers) == (("train/c",), {".txt": 1})
    assert list_images(tmp_path / "train").label.tolist() == ["a", "b"]
    assert list_images(tmp_path / "train/a").label.tolist() == [""]
    with pytest.raises(DataError, match="no image under"):
        list_images(tmp_path / "train/c")


def test_what_is_odd_and_no_fault_is_said(tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.png").write_bytes(encode(draw(n, 60, 70), "png"))
    (tmp_path / "deep.png").write_bytes(encode(draw(9, 60, 70, deep=True), "png"))
    (tmp_path / "black.png").write_bytes(encode(np.zeros((60, 70, 1), np.uint8), "png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = Image.fromarray(draw(8, 60, 70)[:, :, 0]).convert("RGB")
    gray.save(tmp_path / "turned.jpeg", exif=exif, progressive=True, quality=95)
    seen = look(tmp_path)
    assert kinds(seen) == {"mixed": 1, "blank": 1, "turned": 1} and seen.clean
    fact = seen.facts[seen.found.files.index("turned.jpeg")]
    assert fact.progressive and fact.gray_in_colour and fact.turned


def test_the_verb_ends_with_20_for_damage_and_its_json_names_no_file(copy, tmp_path, capsys):
    bad = copy / "Training/no_tumor/jones.jpg"
    bad.write_bytes(b"")
    answer, listed = tmp_path / "answer.json", tmp_path / "names.txt"
    words = ["data", "verify", str(copy), "-q", "--json", str(answer), "--names", str(listed)]
    assert main(words) == 20
    said = json.loads(answer.read_text())
    empty = hashlib.sha256(b"").hexdigest()
    assert said["findings"][0]["files"] == [[empty]] and not said["clean"]
    assert said["findings"][0]["reasons"] == ["empty file"]
    assert "jones" not in answer.read_text() and str(bad) in listed.read_text()
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    assert main(["data", "verify", str(copy), "-q"]) == 20
    page = capsys.readouterr().out
    assert "jones" not in page and empty[:16] in page and "not fit to train on" in page
    assert main(["data", "verify", str(copy), "-q", "--names"]) == 20
    assert str(bad) in capsys.readouterr().out


def test_a_record_is_never_made_of_damage(copy, capsys):
    words = ["data", "verify", str(copy), "-q", "--record"]
    assert main(words) == 0
    assert f"written to {copy / NAME}, 216 files" in capsys.readouterr().out
    before = (copy / NAME).read_bytes()
    path = next((copy / "Training").rglob("*.jp*g"))
    path.write_bytes(path.read_bytes()[:-2] + b"\0\0")
    assert main(words) == 20 and "was not written anew" in capsys.readouterr().err
    path.unlink()
    assert main(words) == 20
    assert (copy / NAME).read_bytes() == before


def test_a_root_that_is_read_only_is_left_alone_also_by_root(copy, monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    copy.chmod(0o555)
    assert main(["data", "verify", str(copy), "-q", "--record"]) == 0
    assert not (copy / NAME).exists()
    assert len(read_record(copy, tmp_path / "cache")) == 216
    copy.chmod(0o755)


def test_a_recipe_says_what_is_expected_and_what_is_missing(copy, capsys):
    shutil.rmtree(copy / "Testing/no_tumor")
    (copy / "Testing/no_tumor").mkdir()
    assert main(["data", "verify", "brain_mri", "--data.root", str(copy), "-q"]) == 20
    page = capsys.readouterr().out
    assert "no image where some should be: Testing/no_tumor" in page
    assert "Testing/no_tumor: 0 images, 105 expected" in page
