"""Annotations are read and written without a loss, and a change of format says what it loses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import boxes
import numpy as np
import pytest

from foveate.dataloaders.annotations.formats import (
    detect_format,
    list_losses,
    read_annotations,
    write_annotations,
)
from foveate.dataloaders.annotations.markup import parse_xml
from foveate.dataloaders.annotations.table import CROWD, DIFFICULT, TRUNCATED, Annotations
from foveate.dataloaders.errors import DataError, StorageError

ENDINGS = {"voc": "", "coco": ".json", "yolo": "", "jsonl": ".jsonl"}


def make(format: str, folder: Path) -> Path:
    """A tiny data set of one format."""
    path = folder / f"{format}{ENDINGS[format]}"
    return getattr(boxes, f"make_{format}")(path)


@pytest.fixture(params=ENDINGS)
def made(request, tmp_path) -> tuple[Path, Annotations]:
    """Each format's file or folder, and what was read of it."""
    path = make(request.param, tmp_path)
    return path, read_annotations(path)


def write_again(found: Annotations, folder: Path) -> Path:
    """The same format in a new place, with the images that YOLO needs beside it."""
    path = folder / f"again{ENDINGS[found.format]}"
    assert write_annotations(found, path, found.format) == []
    if found.format == "yolo":
        boxes.write_images(path / "images", list(found.names), 47, 61)
    return path


def test_reading_what_was_written_gives_the_same_table(made, tmp_path):
    path, found = made
    assert found.format == path.stem and len(found)
    again = read_annotations(write_again(found, tmp_path))
    assert found.differs(again) == ""
    moved = again.box.copy()
    moved[-1, 2] += 1e-9
    assert found.differs(replace(again, box=moved)) == "box"


def test_coco_comes_back_as_equal_json(tmp_path):
    found = read_annotations(boxes.make_coco(tmp_path / "coco.json"))
    again = json.loads(write_again(found, tmp_path).read_text())
    assert again == boxes.coco_facts()
    assert len(found.kept.box.rows) == 1, "two decimals need no number kept beside the box"


def test_annotations_by_id_come_back_by_id(tmp_path):
    facts = boxes.coco_facts()
    facts["annotations"] = {str(a["id"]): a for a in facts["annotations"]}
    facts["annotations"]["other"] = facts["annotations"].pop("5")
    path = tmp_path / "keyed.json"
    path.write_text(json.dumps(facts))
    found = read_annotations(path)
    assert json.loads(write_again(found, tmp_path).read_text()) == facts


def test_jsonl_comes_back_as_equal_lines(tmp_path):
    found = read_annotations(boxes.make_jsonl(tmp_path / "lines.jsonl"))
    lines = write_again(found, tmp_path).read_text().splitlines()
    assert [json.loads(line) for line in lines] == boxes.jsonl_facts()


def test_voc_comes_back_element_by_element(tmp_path):
    root = boxes.make_voc(tmp_path / "voc")
    again = write_again(read_annotations(root), tmp_path)
    for path in (root / "Annotations").iterdir():
        text = (again / "Annotations" / path.name).read_text()
        assert parse_xml(text) == parse_xml(path.read_text())


def test_yolo_comes_back_number_by_number(tmp_path):
    root = boxes.make_yolo(tmp_path / "yolo")
    again = write_again(read_annotations(root), tmp_path)
    read = [sorted(p.relative_to(r) for p in r.rglob("*.txt")) for r in (root, again)]
    assert set(read[1]) - set(read[0]) == {Path("classes.txt")}
    for path in read[0]:
        one, other = ((r / path).read_text().split() for r in (root, again))
        assert list(map(float, one)) == list(map(float, other))


def test_pixels_are_what_each_format_means(tmp_path):
    voc, coco, yolo, jsonl = (read_annotations(make(name, tmp_path)) for name in ENDINGS)
    assert voc.box[0].tolist() == [3, 4, 20, 30], "VOC's corners are taken as they are"
    assert coco.box[0].tolist() == [0.1, 0.2, 0.1 + 10.2, 0.2 + 9.7]
    np.testing.assert_allclose(yolo.box[0], [22.875, 47 / 3, 38.125, 47 * 2 / 3])
    np.testing.assert_allclose(jsonl.box[0], [64.1, 479 / 3, 448.7, 431.1])
    assert coco.box[3].tolist() == [0, 0, 4, 5], "around the run lengths, which wrap"
    assert jsonl.box[2].tolist() == pytest.approx([3, 7, 15, 35])
    assert voc.flags.tolist() == [TRUNCATED, 0, DIFFICULT]
    assert coco.flags.tolist() == [0, 0, 0, CROWD, 0, 0, DIFFICULT]
    assert coco.classes == ("cell", "dot", "category 44") and not coco.declared[2]
    assert yolo.classes == ("RBC", "white's", "class 7")


def test_an_object_takes_67_bytes_a_ring_8_and_a_value_8(made):
    _, found = made
    rings, values = len(found.masks.start) - 1, len(found.masks.values)
    assert found.nbytes == 67 * len(found) + 8 * (rings + values) + 16, "16: ends of the offsets"


def test_a_voc_list_gives_its_split_in_its_order(tmp_path):
    root = boxes.make_voc(tmp_path / "voc")
    found = read_annotations(root, split="train", classes=("WBC", "RBC"))
    assert found.names == ("a2.png", "a1.png") and found.classes == ("WBC", "RBC")
    with pytest.raises(DataError, match=r"none\.txt"):
        read_annotations(root, split="none")


@pytest.mark.parametrize("to", ENDINGS)
@pytest.mark.parametrize("of", ["voc", "coco", "jsonl"])
def test_boxes_and_classes_survive_any_change_of_format(of, to, tmp_path):
    found = read_annotations(make(of, tmp_path))
    found = found.select(found.flags & CROWD == 0, (found.size > 0).all(axis=1))
    found = found.select((found.masks.kind != 1) | (np.diff(found.masks.first) < 2))
    path = tmp_path / f"changed{ENDINGS[to]}"
    names = [name.rpartition("/")[2] for name in found.names]
    found = replace(found, names=tuple(names))
    write_annotations(found, path, to)
    if to == "yolo":
        for name, (height, width) in zip(names, found.size.tolist(), strict=True):
            boxes.write_images(path / "images", [name], height, width)
    again = read_annotations(path)

    def rows(table: Annotations) -> list[tuple[str, str, list[float]]]:
        keys = zip(table.image.tolist(), table.label.tolist(), table.box.tolist(), strict=True)
        return sorted((table.names[i], table.classes[k], box) for i, k, box in keys)

    for one, other in zip(rows(found), rows(again), strict=True):
        assert one[:2] == other[:2]
        if found.masks.kind.any() and to in ("yolo", "jsonl"):
            continue  # the box is then the polygon's own
        np.testing.assert_allclose(one[2], other[2], atol=1e-9)


def test_a_change_of_format_counts_what_it_loses(tmp_path):
    coco, voc = (read_annotations(make(name, tmp_path)) for name in ("coco", "voc"))
    assert list_losses(coco, "coco") == []
    assert "1 crowds are left out" in list_losses(coco, "yolo")
    assert "1 polygons of several rings keep their largest" in list_losses(coco, "yolo")
    assert "2 masks in run lengths become boxes" in list_losses(coco, "jsonl")
    assert "1 crowds are called difficult" in list_losses(coco, "voc")
    assert "1 difficult objects are called crowds" in list_losses(voc, "jsonl")
    assert not [line for line in list_losses(voc, "coco") if "flags" in line]


def test_a_box_that_was_changed_is_written_as_changed(made, tmp_path):
    path, found = made
    found = replace(found, box=found.box * 0.5, masks=found.masks)
    keep = found.masks.kind == 0
    found = found.select(keep & (found.stated & 16 > 0) if path.stem == "coco" else keep)
    again = read_annotations(write_again(found, tmp_path))
    np.testing.assert_allclose(again.box, found.box, atol=1e-9)


def test_selected_objects_keep_what_was_kept_of_them(tmp_path):
    found = read_annotations(boxes.make_coco(tmp_path / "coco.json"))
    facts = boxes.coco_facts()
    some = found.select(found.object_id > 4, found.image_id != 9)
    facts["images"].pop()
    facts["annotations"] = [a for a in facts["annotations"] if a["id"] > 4 and a["image_id"] != 9]
    assert json.loads(write_again(some, tmp_path).read_text()) == facts


def test_nothing_is_written_over_or_out_of_its_folder(made, tmp_path):
    path, found = made
    with pytest.raises(StorageError, match="is there already"):
        write_annotations(found, path, found.format)
    names = ("../out.png", *found.names[1:])
    for to in ("voc", "yolo"):
        sized = replace(found, names=names, size=np.full_like(found.size, 9))
        sized = replace(sized, kept=replace(sized.kept, images={}))
        with pytest.raises(DataError, match="leads out"):
            write_annotations(sized, tmp_path / f"{to}-out", to)
    assert not (tmp_path / "out.xml").exists()


def test_the_format_is_seen(made, tmp_path):
    path, _ = made
    assert detect_format(path) == path.stem
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither"):
        detect_format(tmp_path / "empty")
