"""Annotations to COCO JSON, written piece by piece.

Read from COCO, everything comes back. From other formats: boxes, polygons and flags are written;
`difficult`, `truncated` and `occluded` become keys of that name, which COCO readers pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .coco import FLAGS
from .coco_table import to_written
from .rle import encode_texts
from .table import BOX, CROWD, NONE, POLYGON, RLE_TEXT, Annotations, Column
from .wrong import check_whole

PIECE = 10_000
"""Objects that are in memory as Python objects at one time."""


def write_coco(found: Annotations, path: Path) -> None:
    """One JSON file. Raises OSError where it cannot be written."""
    keyed = {key[1:]: sign for key, sign in found.kept.top.items() if key.startswith("/")}
    plain = {key: value for key, value in found.kept.top.items() if not key.startswith("/")}
    if found.format != "coco":
        keyed, plain = {}, {}
    with open(path, "w", encoding="utf-8") as file:
        file.write("{")
        for key, value in plain.items():
            file.write(f"{json.dumps(key)}: {json.dumps(value)},\n")
        lists = (("images", _images), ("annotations", _objects), ("categories", _classes))
        said = [(key, rows) for key, rows in lists if keyed.get(key) != ""]
        for key, rows in said:
            opening = keyed.get(key, "[")
            file.write(f'"{key}": {opening}')
            for number, row in enumerate(rows(found)):
                name = f"{json.dumps(_key(found, key, number, row))}: " if opening == "{" else ""
                file.write(f"{',' * (number > 0)}\n{name}{json.dumps(row)}")
            file.write(("]" if opening == "[" else "}") + (",\n" if key != said[-1][0] else ""))
        file.write("}\n")


def _key(found: Annotations, what: str, number: int, row: dict[str, Any]) -> str:
    """What an entry is called in a file that has an object in place of a list."""
    column = found.kept.objects.get("/key", {}) if what == "annotations" else {}
    return str(column.get(number, row["id"]))


def _images(found: Annotations) -> Iterator[dict[str, Any]]:
    ids, sizes = found.image_id.tolist(), found.size.tolist()
    for number, name in enumerate(found.names):
        height, width = sizes[number]
        row = {"id": ids[number], "file_name": name}
        if height or width:
            row |= {"height": height, "width": width}
        yield row | _extra(found, found.kept.images, number)


def _classes(found: Annotations) -> Iterator[dict[str, Any]]:
    for number, name in enumerate(found.classes):
        if found.declared[number] or found.format != "coco":
            row = {"id": int(found.class_id[number]), "name": name}
            yield row | _extra(found, found.kept.classes, number)


def _objects(found: Annotations) -> Iterator[dict[str, Any]]:
    boxes = (
        found.kept.box.restore(found.box, to_written(found.box))
        if found.format == "coco"
        else (to_written(found.box))
    )
    texts = _texts(found)
    image, label = found.image_id[found.image], found.class_id[found.label]
    for begin in range(0, len(found), PIECE):
        part = slice(begin, begin + PIECE)
        columns = (found.object_id, image, label, boxes, found.area, found.flags, found.stated)
        pieces = zip(*(column[part].tolist() for column in columns), strict=True)
        for number, (own, picture, kind, box, area, flags, stated) in enumerate(pieces, begin):
            row: dict[str, Any] = {"id": own, "image_id": picture, "category_id": kind}
            if stated & BOX or found.format != "coco":
                row["bbox"] = box
            if area == area:
                row["area"] = area
            for key, bit in FLAGS.items():
                if stated & bit or (bit == CROWD and found.format != "coco"):
                    row[key] = 1 if flags & bit else 0
            if found.masks.kind[number] != NONE:
                row["segmentation"] = _mask(found, number, texts)
            yield row | _extra(found, found.kept.objects, number)


def _texts(found: Annotations) -> Column:
    """The compressed run lengths of every object that has them so."""
    numbers = np.flatnonzero(found.masks.kind == RLE_TEXT)
    rings = [found.masks.rings(n)[0] for n in numbers.tolist()]
    if not rings:
        return {}
    start = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])])
    texts = encode_texts(np.concatenate(rings).astype(np.int64), start)
    return dict(zip(numbers.tolist(), texts, strict=True))


def _mask(found: Annotations, number: int, texts: Column) -> Any:
    kind, rings = found.masks.kind[number], found.masks.rings(number)
    if kind == POLYGON:
        return [ring.tolist() for ring in rings]
    kept = found.kept.objects if found.format == "coco" else {}
    size = kept.get("/size", {}).get(number, found.size[found.image[number]].tolist())
    if kind == RLE_TEXT:
        return {"size": size, "counts": kept.get("/counts", {}).get(number, texts[number])}
    return {"size": size, "counts": [check_whole(v, "run") for v in rings[0].tolist()]}


def _extra(found: Annotations, columns: dict[str, Column], number: int) -> dict[str, Any]:
    if found.format != "coco":
        return {}
    return {
        key: column[number]
        for key, column in columns.items()
        if number in column and not key.startswith("/")
    }
