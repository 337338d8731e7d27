"""Annotations for tests: tiny files of every format that say all that the format can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VOC = """<annotation verified="yes">
  <folder>JPEGImages</folder>
  <filename>{name}.png</filename>
  <source><database>Unknown &amp; kept</database></source>
  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>
  <segmented>0</segmented>
  {objects}
</annotation>"""
OBJECT = """<object><name>{name}</name><pose>Unspecified</pose><truncated>{truncated}</truncated>
  <difficult>{difficult}</difficult>
  <bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>{more}</object>"""


def write_images(folder: Path, names: list[str], height: int = 48, width: int = 64) -> None:
    """Black images."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width), np.uint8)).save(folder / name)


def make_voc(root: Path) -> Path:
    """Three images: two with objects (one of no area, one with a part), one with none."""
    part = "<part><name>nucleus</name><bndbox><xmin>1</xmin></bndbox></part>"
    first = OBJECT.format(3, 4, 20, 30, name="RBC", truncated=1, difficult=0, more="")
    first += OBJECT.format(7, 8, 7, 8, name="RBC", truncated=0, difficult=0, more="")
    second = OBJECT.format(1.5, "2.50", 64, 48, name="WBC", truncated=0, difficult=1, more=part)
    for name, objects in (("a1", first), ("a2", second), ("a3", "")):
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(VOC.format(name=name, width=64, height=48, objects=objects))
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a2\na1\n")
    write_images(root / "JPEGImages", ["a1.png", "a2.png", "a3.png"])
    return root


def coco_facts() -> dict[str, Any]:
    """A COCO file with polygons (two rings too), both kinds of run lengths, and odd keys."""
    images = [
        {"id": 7, "file_name": "a.png", "height": 5, "width": 6, "license": 1, "url": "x"},
        {"id": 3, "file_name": "b.png", "height": 48, "width": 64},
        {"id": 9, "file_name": "c.png"},
    ]
    ring, other = [0.1, 0.2, 10.3, 0.7, 8, 9.9], [20, 20, 30, 20, 30, 30, 20, 30]
    # 0.1 + 0.2 - 0.1 is not 0.2, and pi keeps more digits than any rounding does
    boxes = [[0.1, 0.2, 10.2, 9.7], [1 / 3, 2, 3.141592653589793, 3], [20, 20, 10, 10]]
    crowd = {"size": [5, 6], "counts": [3, 4, 10, 2, 11]}
    text = {"size": [5, 6], "counts": "34:N1"}
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 5, "bbox": boxes[0], "segmentation": [ring]},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": boxes[1], "area": 1.25, "iscrowd": 0},
        {"id": 9, "image_id": 3, "category_id": 5, "bbox": boxes[2], "segmentation": [other, ring]},
        {"id": 4, "image_id": 7, "category_id": 2, "segmentation": crowd, "iscrowd": 1},
        {"id": 5, "image_id": 7, "category_id": 2, "segmentation": text, "note": {"by": [1, None]}},
        {"id": 6, "image_id": 7, "category_id": 2, "bbox": [1, 1, 2, 2], "segmentation": []},
        {"id": 8, "image_id": 9, "category_id": 44, "bbox": [1, 1, 2, 2], "difficult": 1},
    ]
    return {
        "version": 1234567890.125,
        "info": {"year": 2021, "nested": [{}]},
        "licenses": [{"id": 1, "name": "CC0"}],
        "categories": [{"id": 5, "name": "cell", "supercategory": "x"}, {"id": 2, "name": "dot"}],
        "annotations": annotations,
        "images": images,
    }


def make_coco(path: Path) -> Path:
    """The file of `coco_facts`."""
    path.write_text(json.dumps(coco_facts()))
    return path


def jsonl_facts() -> list[dict[str, Any]]:
    """Three lines: boxes, polygons with and without corners, sizes with px, odd keys."""
    corners = {"topX": 0.1, "topY": 1 / 3, "bottomX": 0.7, "bottomY": 0.9}
    ring = [0.1, 0.123456, 1 / 3, 0.2, 0.5, 2 / 7]
    details = {"format": "jpg", "width": 641, "height": 479}
    px = {"format": "png", "width": "30px", "height": "70px", "more": 1}
    return [
        {
            "image_url": "AmlDatastore://data/p 1.jpg",
            "image_details": details,
            "label": [
                {"label": "RBC", **corners, "isCrowd": 0},
                {"label": "WBC", **corners, "isCrowd": 1, "by": "x"},
            ],
        },
        {
            "image_url": "b/p2.png",
            "image_details": px,
            "source": [1],
            "label": [
                {"label": "RBC", "isCrowd": 0, "polygon": [ring, ring[::-1]]},
                {"label": "RBC", **corners, "polygon": [ring]},
            ],
        },
        {"image_url": "p3.png", "image_details": details, "label": []},
    ]


def make_jsonl(path: Path) -> Path:
    """The file of `jsonl_facts`."""
    path.write_text("".join(json.dumps(line) + "\n" for line in jsonl_facts()))
    return path


def make_yolo(root: Path) -> Path:
    """Four images: boxes, a polygon, an empty text file, no text file; one class is not named."""
    write_images(root / "images", ["a.png", "b/b.png", "c.png", "d.png"], 47, 61)
    (root / "labels" / "b").mkdir(parents=True)
    (root / "labels" / "a.txt").write_text(
        f"1 0.5 0.5 0.25 {1 / 3}\n0 0.123456 0.654321 0.1 0.07\n"
    )
    (root / "labels" / "b" / "b.txt").write_text("7 0.1 0.2 0.3 0.4 0.5 0.6001 0.7 0.1\n\n")
    (root / "labels" / "c.txt").write_text("")
    (root / "data.yaml").write_text("path: x\nnames:\n  0: RBC  # red\n  1: 'white''s'\nnc: 2\n")
    return root
