"""The validator counts every flaw that was planted, and `make_usable` mends what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import boxes
import numpy as np
import pytest

from foveate.dataloaders.annotations.check import (
    Finding,
    check_annotations,
    find_overlaps,
    name_image,
)
from foveate.dataloaders.annotations.coco import read_coco
from foveate.dataloaders.annotations.formats import read_annotations
from foveate.dataloaders.annotations.known import BCCD, KNOWN, LIVECELL, Expected, Known
from foveate.dataloaders.annotations.shapes import fill_ring, measure_polygon, pair_boxes
from foveate.dataloaders.annotations.table import Annotations
from foveate.dataloaders.annotations.usable import describe_usable, make_usable
from foveate.engine.cli import main


def write_coco(path: Path, images: list[dict], annotations: list[dict]) -> Annotations:
    """A COCO file of one class, read."""
    facts = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "c"}]}
    path.write_text(json.dumps(facts))
    return read_coco(path)


def picture(number: int, name: str, height: int = 40, width: int = 60) -> dict:
    """A row of "images"."""
    return {"id": number, "file_name": name, "height": height, "width": width}


def thing(number: int, image: int, *box: float, category: int = 1, **more) -> dict:
    """A row of "annotations"; `box` is x, y, width, height."""
    own = {"id": number, "image_id": image, "category_id": category, "bbox": list(box)}
    return own | more


@pytest.fixture
def flawed(tmp_path) -> Annotations:
    """Every flaw that needs no image file, once or twice."""
    images = [picture(1, "p_77.png"), picture(2, "b.png"), picture(5, "p_77.png"), picture(6, "e")]
    annotations = [
        thing(1, 1, 5, 5, 10, 10),
        thing(2, 1, 5, 5, 10, 10),  # as 1
        thing(3, 1, 20, 5, 0, 10),  # no area
        thing(4, 1, 50, 30, 20, 20),  # reaches out
        thing(5, 1, 70, 5, 5, 5),  # lies out
        thing(6, 2, 5, 5, 20, 20, category=9),  # no such class
        thing(7, 2, 5, 5, 20, 19),  # as 6, nearly
        thing(7, 5, 5, 5, 10, 10),  # id as 7, image as 1
    ]
    return write_coco(tmp_path / "flawed.json", images, annotations)


def count(findings: list[Finding]) -> dict[str, int]:
    """Kind -> count."""
    return {finding.kind: finding.count for finding in findings}


def test_every_planted_flaw_is_counted_and_nothing_else(flawed):
    findings = check_annotations(flawed)
    assert count(findings) == {
        "zero-area": 1,
        "outside": 1,
        "far outside": 1,
        "unknown class": 1,
        "double image": 1,
        "double object": 1,
        "double id": 1,
        "double contour": 2,
        "no objects": 1,
    }
    assert [f.grade for f in findings] == sorted(
        (f.grade for f in findings), key=["wrong", "mended", "note"].index
    )


def test_sound_annotations_have_no_finding(tmp_path):
    images, annotations = [picture(1, "a.png")], [thing(1, 1, 5, 5, 10, 10)]
    assert check_annotations(write_coco(tmp_path / "a.json", images, annotations)) == []


def test_examples_name_objects_and_no_image(flawed):
    shown = json.dumps([finding.to_dict() for finding in check_annotations(flawed)])
    assert "object 3 of image 1 (" in shown and "p_77" not in shown
    assert name_image(flawed, 0)[9:21] == name_image(flawed, 2)[9:21], "one name, one hash"


def test_usable_drops_clips_and_merges(flawed):
    usable, went = make_usable(flawed)
    assert went == {
        **{"double images": 1, "double objects of images": 1, "zero-area": 1, "clipped": 1},
        **{"far outside": 1, "double objects": 1},
    }
    assert usable.names == ("p_77.png", "b.png", "e")
    assert usable.object_id.tolist() == [1, 4, 6, 7]
    assert usable.box[1].tolist() == [50, 30, 60, 40], "clipped at the image's edges"
    assert "3 images and 4 objects" in describe_usable(usable, went)
    assert make_usable(usable)[1] == dict.fromkeys(went, 0)
    assert not {"mended"} & {finding.grade for finding in check_annotations(usable)}


def test_of_an_image_under_two_ids_the_one_with_more_objects_stays(tmp_path):
    images = [picture(1, "a"), picture(2, "a"), picture(3, "b"), picture(4, "b")]
    annotations = [thing(1, 1, 1, 1, 5, 5), thing(2, 2, 1, 1, 6, 6), thing(3, 2, 9, 9, 5, 5)]
    usable, _ = make_usable(write_coco(tmp_path / "a.json", images, annotations))
    assert usable.image_id.tolist() == [2, 3] and usable.object_id.tolist() == [2, 3]


def test_an_image_file_that_is_missing_damaged_or_of_another_size_is_found(tmp_path):
    root = boxes.make_voc(tmp_path / "voc")
    found = read_annotations(root)
    folder = root / "JPEGImages"
    assert count(check_annotations(found, folder)) == {"zero-area": 1, "no objects": 1}
    (folder / "a1.png").unlink()
    (folder / "a2.png").write_bytes(b"no image")
    boxes.write_images(folder, ["a3.png"], 41, 41)
    findings = count(check_annotations(found, folder))
    assert [findings[kind] for kind in ("no file", "unreadable", "size differs")] == [1, 1, 1]
    outside = replace(found, names=("../JPEGImages/a3.png", "a2.png", "a3.png"))
    assert count(check_annotations(outside, folder / "..")).get("no file") == 3


@pytest.mark.parametrize("masks", ["polygons", "boxes"])
def test_double_contours_are_found_by_their_masks(tmp_path, masks):
    disc = [20 + 8 * f(a) for a in np.linspace(0, 6.2, 40) for f in (np.cos, np.sin)]
    moved = [value + 0.5 for value in disc]
    thin = [12, 12, 28, 12, 12, 28]  # the same box, half of it
    rings = [disc, moved, thin]
    objects = []
    for n, ring in enumerate(rings):
        x, y = min(ring[::2]), min(ring[1::2])
        box = (x, y, max(ring[::2]) - x, max(ring[1::2]) - y)
        objects.append(thing(n, 1, *box, segmentation=[ring]))
    if masks == "boxes":
        objects = [{**own, "segmentation": []} for own in objects]
    found = write_coco(tmp_path / "a.json", [picture(1, "a")], objects)
    pairs = {(one, other) for one, other, _ in find_overlaps(found)}
    assert pairs == ({(0, 1)} if masks == "polygons" else {(0, 1), (0, 2), (1, 2)})


def test_no_pair_of_boxes_is_missed_by_the_sorted_search():
    noise = np.random.default_rng(0)
    corner = noise.uniform(0, 25, (300, 2))
    box = np.concatenate([corner, corner + noise.uniform(1, 20, (300, 2))], axis=1)
    lower = np.maximum(box[:, None, :2], box[None, :, :2])
    upper = np.minimum(box[:, None, 2:], box[None, :, 2:])
    shared = (upper - lower).clip(0).prod(axis=2)
    area = (box[:, 2:] - box[:, :2]).prod(axis=1)
    iou = shared / (area[:, None] + area - shared)
    for least in (0.3, 0.5, 0.8):
        wanted = {tuple(pair) for pair in np.argwhere(np.triu(iou, 1) > least).tolist()}
        assert {tuple(pair) for pair in pair_boxes(box, least).tolist()} == wanted
        assert wanted


def test_a_pair_that_only_just_overlaps_enough_is_held():
    box = np.array([[0, 0, 100, 10], [49, 0, 100, 10], [51, 0, 100, 10.0]])  # IoU 0.51 and 0.49
    assert pair_boxes(box, 0.5).tolist() == [[0, 1], [1, 2]]


def test_a_polygon_covers_its_area():
    star = np.array([10, 1, 12, 8, 19, 8, 13, 12, 16, 19, 10, 14, 4, 19, 7, 12, 1, 8, 8, 8.0])
    fine = fill_ring(star * 20, 0, 0, 400, 400)
    assert fine.sum() / 400 == pytest.approx(measure_polygon(star), rel=0.01)
    square = np.array([2, 3, 7, 3, 7, 9, 2, 9.0])
    assert fill_ring(square, 0, 0, 10, 10).sum() == measure_polygon(square) == 30
    assert fill_ring(square, 4, 5, 2, 2).all(), "a frame inside"


def test_a_published_set_is_held_against_its_counts_and_sizes(tmp_path):
    found = read_annotations(boxes.make_voc(tmp_path / "voc"))
    counts = Expected(3, 3, (("RBC", 2), ("WBC", 1)))
    known = Known("tiny", {"all": counts}, (48, 64), {(41, 41): "the small copy"}, {"dim": ("a2",)})
    plain = check_annotations(found)
    findings = check_annotations(found, known=known, split="all")
    assert count(findings) == count(plain) | {"dim": 1}
    assert make_usable(found, replace(known, left_out=("dim",)))[0].names == ("a1.png", "a3.png")
    fewer = found.select(found.label == 0, np.array([True, True, False]))
    said = [f.text for f in check_annotations(fewer, known=known, split="all") if f.kind == "count"]
    assert len(said) == 3 and "WBC too few: tiny all has 1, here are 0" in said
    small = replace(found, size=np.array([[48, 64], [41, 41], [48, 64]], np.int32))
    (odd,) = [f for f in check_annotations(small, known=known) if f.kind == "another copy"]
    assert odd.count == 1 and "the small copy" in odd.text
    with pytest.raises(ValueError, match="has splits"):
        check_annotations(found, known=known, split="none")


def test_what_is_known_adds_up():
    parts = [BCCD.splits[name] for name in ("train", "val", "test")]
    assert sum(part.images for part in parts) == BCCD.splits["all"].images == 364
    for number, (_, objects) in enumerate(BCCD.splits["all"].objects):
        assert sum(part.objects[number][1] for part in parts) == objects
    assert sum(objects for _, objects in BCCD.splits["all"].objects) == 4888
    double = {name: split.ids - split.images for name, split in LIVECELL.splits.items()}
    assert double == {"train": 65, "val": 31, "test": 52}
    assert sum(split.images for split in LIVECELL.splits.values()) == 5239
    for known in KNOWN.values():
        assert set(known.left_out) <= set(known.flaws)
        assert all("." not in stem for stems in known.flaws.values() for stem in stems)


def test_the_command_line_checks_and_converts(tmp_path, capsys):
    root = boxes.make_voc(tmp_path / "voc")
    verb = ["data", "annotations"]
    assert main([*verb, "check", str(root), "--json", str(tmp_path / "found.json")]) == 0
    facts = json.loads((tmp_path / "found.json").read_text())
    assert facts["usable"]["objects"] == 2 and facts["read_as"] == "voc"
    assert "a1" not in json.dumps(facts["findings"])
    assert main([*verb, "check", str(root), "--known", "bccd", "--split", "train"]) == 20
    assert "images too few: bccd train has 205, here are 2" in capsys.readouterr().out
    target = str(tmp_path / "new.json")
    assert main([*verb, "convert", str(root), target, "--to", "coco", "--usable"]) == 0
    assert len(read_coco(Path(target))) == 2
    assert main([*verb, "convert", str(root), target, "--to", "coco"]) == 50
    for words in (["check", str(root), "--known", "x"], ["check", str(root), "--format", "x"], []):
        assert main([*verb, *words]) == 2
    assert main([*verb, "check", str(tmp_path / "none.json")]) == 20
