"""Whatever is wrong with an annotation file, the answer is one line that says where."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxes
import numpy as np
import pytest

from foveate.dataloaders.annotations import stream
from foveate.dataloaders.annotations.check import check_annotations
from foveate.dataloaders.annotations.formats import read_annotations, write_annotations
from foveate.dataloaders.errors import DataError

Change = Callable[[dict[str, Any]], Any]


def refuse(path: Path, *words: str, format: str = "auto", name: str = "") -> str:
    """The one line with which a file is refused; it has every one of `words`."""
    with pytest.raises(DataError) as caught:
        read_annotations(path, format)
    said = str(caught.value)
    assert "\n" not in said and all(word in said for word in (name or path.name, *words)), said
    assert re.search(r";|mend|name ", said), f"{said}: says nothing to do"
    return said


def first(key: str, **values: Any) -> Change:
    """Change values of the first entry of a list; `...` removes the key."""

    def change(facts: dict[str, Any]) -> None:
        for name, value in values.items():
            if value is ...:
                del facts[key][0][name]
            else:
                facts[key][0][name] = value

    return change


RLE = {"size": [48, 64], "counts": [3072]}
COCO: list[tuple[Change, tuple[str, ...]]] = [
    (lambda facts: facts.pop("images"), ("no list 'images'",)),
    (lambda facts: facts.pop("annotations"), ("no list 'annotations'",)),
    (lambda facts: facts.update(images=5), ("'images' is no list", "character")),
    (lambda facts: facts["images"].append(5), ("images[3]", "wrong type")),
    (lambda facts: facts["images"].append(facts["images"][0]), ("images[3]", "twice")),
    (first("images", file_name=...), ("images[0]", "'file_name' is missing")),
    (first("images", file_name=3), ("images[0]", "no text")),
    (first("images", height=...), ("images[0]", "'height' is missing")),
    (first("images", height=-5), ("images[0]", "1 or more")),
    (first("images", width=10**12), ("images[0]", "1 or more")),
    (first("images", id="a"), ("images[0]", "id is no whole number")),
    (first("categories", name=None), ("categories[0]", "no text")),
    (first("categories", id=2), ("categories[1]", "twice")),
    (first("annotations", image_id=77), ("annotations[0]", "of no image")),
    (first("annotations", image_id=...), ("annotations[0]", "'image_id' is missing")),
    (first("annotations", category_id=1.5), ("annotations[0]", "category_id")),
    (first("annotations", id=2**70), ("annotations[0]", "whole number")),
    (first("annotations", bbox=[1, 2, 3]), ("annotations[0]", "four numbers")),
    (first("annotations", bbox=[1, 2, -3, 4]), ("annotations[0]", "negative")),
    (first("annotations", bbox=[1, 2, float("nan"), 4]), ("character", "NaN")),
    (first("annotations", bbox=[1, 2, 1e300, 4]), ("annotations[0]", "no pixel")),
    (first("annotations", bbox=[1, 2, True, 4]), ("annotations[0]", "four numbers")),
    (first("annotations", bbox="1 2 3 4"), ("annotations[0]", "four numbers")),
    (first("annotations", bbox=..., segmentation=...), ("annotations[0]", "both missing")),
    (first("annotations", iscrowd=2), ("annotations[0]", "neither 0 nor 1")),
    (first("annotations", area=-1), ("annotations[0]", "area")),
    (first("annotations", segmentation=[[1, 2, 3, 4]]), ("annotations[0]", "3 points")),
    (first("annotations", segmentation=[[1, 2, 3, 4, 5, "6"]]), ("annotations[0]", "numbers")),
    (first("annotations", segmentation=[[1, 2, 3, 4, 5, 1e99]]), ("annotations[0]", "no pixel")),
    (first("annotations", segmentation=[7]), ("annotations[0]", "polygon")),
    (first("annotations", segmentation=7), ("annotations[0]", "neither polygons")),
    (first("annotations", segmentation={**RLE, "counts": [7]}), ("annotations[0]", "add up")),
    (first("annotations", segmentation={**RLE, "counts": [-1, 3073]}), ("[0]", "add up")),
    (first("annotations", segmentation={**RLE, "counts": ["a"]}), ("[0]", "whole numbers")),
    (first("annotations", segmentation={**RLE, "counts": "\u00e9"}), ("[0]", "letter")),
    (first("annotations", segmentation={**RLE, "counts": "o"}), ("[0]", "middle of a number")),
    (first("annotations", segmentation={**RLE, "size": [0, 5]}), ("[0]", "size")),
    (first("annotations", segmentation={**RLE, "size": [10**6, 10**6]}), ("[0]", "size")),
    (first("annotations", segmentation={**RLE, "size": 5}), ("[0]", "wrong type")),
]


@pytest.mark.parametrize(("change", "words"), COCO)
def test_a_wrong_coco_file_is_one_line_with_its_place(change, words, tmp_path):
    facts = boxes.coco_facts()
    change(facts)
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(facts))
    refuse(path, *words)


@pytest.mark.parametrize("chunk", [stream.CHUNK, 7])
def test_a_cut_file_is_refused_wherever_it_is_cut(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "CHUNK", chunk)
    text = json.dumps(boxes.coco_facts())
    path = tmp_path / "cut.json"
    for length in range(0, len(text), 13):
        path.write_text(text[:length])
        refuse(path, "character")
    path.write_text(f" \n{text}\n ")
    whole = read_annotations(path)
    assert whole.differs(read_annotations(boxes.make_coco(tmp_path / "all.json"))) == ""


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 200_000, "JSON object"),
        ('{"a": ' + "[" * 200_000, "nest"),
        ('{"a": ' + '{"a":' * 200_000, "nest"),
        ('{"images": [' + "[" * 200_000, "nest"),
        ('{"images": [], "images": []}', "twice"),
        ('{"images": [] "annotations": []}', "comma"),
        ('{"images": [], "annotations": []} x', "follows the end"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "too long"),
        ('{"/images": []}', "slash"),
        ("null", "JSON object"),
    ],
)
def test_json_that_is_no_annotation_file_is_refused(text, word, tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(text)
    refuse(path, word)


def test_one_endless_element_is_refused_and_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "LONGEST", 1000)
    monkeypatch.setattr(stream, "CHUNK", 100)
    path = tmp_path / "long.json"
    path.write_text('{"images": ["' + "a" * 100_000 + '"]}')
    refuse(path, "character")


@pytest.mark.parametrize("format", ["coco", "jsonl"])
def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(format, tmp_path):
    path = tmp_path / f"a.{format}"
    refuse(path, format=format)
    path.write_bytes(b'{"a": "\xff\xfe"}')
    refuse(path, "UTF-8", format=format)
    refuse(tmp_path, "is a folder", format=format)


AGAIN = "&{};"
ENTITIES = "".join(f"<!ENTITY {chr(98 + n)} '{AGAIN.format(chr(97 + n)) * 10}'>" for n in range(25))
BOMB = f"""<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "lollollol">{ENTITIES}]>
<annotation><filename>&z;</filename></annotation>"""
XML = [
    (BOMB, "DOCTYPE"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE"),
    ("<a>" * 40 + "</a>" * 40, "deeper"),
    ("<annotation><filename>a</filename>", "line 1"),
    ("<annotation/>", "no <filename>"),
    ("<annotation><filename/></annotation>", "empty"),
    ("<other/>", "not <annotation>"),
    ("", "line 1"),
]


@pytest.mark.parametrize(("text", "word"), XML)
def test_dangerous_or_broken_xml_is_refused_at_once(text, word, tmp_path):
    path = tmp_path / "p_77.xml"
    path.write_text(text)
    began = time.process_time()
    said = refuse(path, word, str(tmp_path), name="hash")
    assert "p_77" not in said, "a file is named after its image"
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("<xmin>3<", "<xmin>x<", "<xmin> is no number"),
        ("<xmin>3<", "<xmin>nan<", "<xmin> is no number"),
        ("<xmin>3<", "<xmin>1e99<", "<xmin> is no number"),
        ("<xmin>3<", "<xmin>30<", "negative"),
        ("<xmin>3</xmin>", "", "no <xmin>"),
        ("<ymin>4</ymin>", "<ymin>4</ymin><ymin>4</ymin>", "2 times <ymin>"),
        ("<name>RBC<", "<name><", "empty"),
        ("<difficult>0", "<difficult>maybe", "neither 0 nor 1"),
        ("<width>64", "<width>-64", "<size>"),
        ("<width>64</width>", "", "no <width>"),
    ],
)
def test_a_wrong_voc_file_is_one_line_with_its_place(old, new, word, tmp_path):
    root = boxes.make_voc(tmp_path / "voc")
    path = root / "Annotations" / "a1.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    said = refuse(root, word, "file 1 by name", name="Annotations")
    assert "object 1" in said or "<size>" in said or "<width>" in said


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("0 0.5 0.5 0.1", "3 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.1", "5 numbers"),
        ("0 0.5 0.5 0.1 -0.1", "negative"),
        ("0 0.5 0.5 nan 0.1", "NaN"),
        ("-1 0.5 0.5 0.1 0.1", "class number"),
        ("0.5 0.5 0.5 0.1 0.1", "no number"),
        ("car 0.5 0.5 0.1 0.1", "no number"),
    ],
)
def test_a_wrong_yolo_line_is_named(line, word, tmp_path):
    root = boxes.make_yolo(tmp_path / "yolo")
    (root / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n\n{line}\n")
    refuse(root, word, "line 3", "file 1 by name", name="labels")


def test_a_yolo_folder_without_its_images_or_with_odd_names_is_refused(tmp_path):
    root = boxes.make_yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text("names: {0: a}\n")
    refuse(root, "data.yaml", "classes.txt")
    (root / "data.yaml").write_text("names: ['a, b', \"c\",\n  d]\n")
    assert read_annotations(root).classes == ("a, b", "c", "d", "class 7")
    (root / "images" / "a.png").unlink()
    refuse(root, "1 text files have no image")
    (root / "images" / "a.png").write_bytes(b"none")
    refuse(root, "no image that can be read", name="images")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"image_url"', '"url"', ("line 1", "'image_url' is missing")),
        ('"label": [', '"label": ["x", ', ("line 1", "wrong type")),
        ('"label": [{', '"label": "cat", "x": [{', ("line 1", "classifier")),
        ('"width": 641', '"width": 0', ("line 1", "1 or more")),
        ('"30px"', '"30em"', ("line 2", "whole number")),
        ('"topX": 0.1', '"topX": NaN', ("line 1", "NaN")),
        ('"topX": 0.1', '"topX": 0.8', ("line 1", "negative")),
        ('"topX": 0.1', '"topY": 0.1', ("line 1", "'topX' is missing")),
        ('"isCrowd": 1', '"isCrowd": "yes"', ("line 1", "isCrowd")),
        ("}]}\n", "}]\n", ("line 1", "no JSON at character")),
    ],
)
def test_a_wrong_json_line_is_named(old, new, words, tmp_path):
    path = boxes.make_jsonl(tmp_path / "a.jsonl")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    refuse(path, *words)


def mutate(data: bytes, noise: np.random.Generator) -> bytes:
    """One to three bytes changed, or a stretch removed, doubled or moved."""
    kind, changed = noise.integers(4), bytearray(data)
    a, b = sorted(noise.integers(0, len(data), 2).tolist())
    b = min(b, a + 40)
    if kind == 0:
        for place in noise.integers(0, len(data), noise.integers(1, 4)):
            changed[place] = noise.choice(list(b'0123456789-.eN"[]{}<>,: \x00\xff'))
    elif kind == 1:
        del changed[a:b]
    elif kind == 2:
        changed[a:a] = data[a:b]
    else:
        changed = changed[:a]
    return bytes(changed)


@pytest.mark.parametrize(
    ("format", "count"), [("coco", 400), ("jsonl", 300), ("voc", 250), ("yolo", 100)]
)
def test_no_mutation_is_answered_by_anything_but_a_table_or_one_line(format, count, tmp_path):
    ending = {"coco": ".json", "jsonl": ".jsonl"}.get(format, "")
    root = getattr(boxes, f"make_{format}")(tmp_path / f"seed{ending}")
    inner = {"voc": "Annotations/a1.xml", "yolo": "labels/a.txt"}.get(format)
    path = root / inner if inner else root
    data, noise, read = path.read_bytes(), np.random.default_rng(7), 0
    said: set[str] = set()
    for number in range(count):
        path.write_bytes(mutate(data, noise))
        try:
            found = read_annotations(root, format)
        except DataError as error:
            said.add(str(error))
            continue
        read += 1
        check_annotations(found)
        assert np.isfinite(found.box).all()
        again = tmp_path / f"again-{number}{ending}"
        write_annotations(found, again, format)
        if format != "yolo":
            assert found.differs(read_annotations(again, format)) == ""
    assert 0 < read < count and not [line for line in said if "\n" in line]
