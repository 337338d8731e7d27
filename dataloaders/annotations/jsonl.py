"""JSON lines as Azure's AutoML for Images takes them: a line per image, coordinates as shares.

A line is {"image_url", "image_details": {"format", "width", "height"}, "label": [...]}, an object
{"label", "topX", "topY", "bottomX", "bottomY", "isCrowd"} or {"label", "isCrowd", "polygon":
[[x, y, ...], ...]}. x is divided by the width, y by the height; sizes may say "640px".

Lossless here: every line compares equal as JSON, whatever extra keys it has. A polygon without
corners has the box around it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import DataError
from .exact import find_exact
from .rows import Rows, check_box, check_extent, close_classes, number_classes
from .shapes import bound_polygons, scale_of
from .stream import LONGEST, open_text, parse_json
from .table import BOX, CROWD, DIFFICULT, NONE, POLYGON, Annotations, Column, Kept
from .wrong import Malformed, check_whole, place_error

CORNERS = ("topX", "topY", "bottomX", "bottomY")


def read_jsonl(path: Path, classes: Sequence[str] = ()) -> Annotations:
    """One JSONL file, line by line; `classes` as `read_voc` has it.

    Raises DataError with the file, the line and a fix.
    """
    raw = _Raw()
    for number, line in _lines(path):
        try:
            _take_line(raw, parse_json(line))
        except KeyError as error:
            raise place_error(path, f"line {number}", f"{error} is missing; add it") from None
        except (TypeError, AttributeError, OverflowError):
            said = "a value has the wrong type; mend it"
            raise place_error(path, f"line {number}", said) from None
        except Malformed as error:
            raise place_error(path, f"line {number}", error) from None
    if not raw.names:
        raise DataError(f"{path} has no line; name a file of JSON lines")
    places = number_classes(raw.labels, classes)
    raw.rows.label.extend(places[label] for label in raw.labels)
    size = np.array(raw.sizes, np.int32).reshape(-1, 2)
    images = (tuple(raw.names), size, np.arange(1, len(raw.names) + 1))
    kept = Kept(images=raw.images, objects=raw.rows.extra)
    return _to_pixels(raw.rows.close("jsonl", images, close_classes(places, classes), kept))


@dataclass
class _Raw:
    """What the lines read so far say."""

    rows: Rows = field(default_factory=Rows)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    images: dict[str, Column] = field(default_factory=dict)


def _take_line(raw: _Raw, item: Any) -> None:
    if type(item) is not dict:
        raise Malformed("the line is no JSON object; write one image per line")
    objects = item.pop("label")
    if type(objects) is not list:
        raise Malformed("label is no list of boxes or polygons; this may be a classifier's file")
    name, size = _image(item, len(raw.names), raw.images)
    raw.labels += [_object(raw.rows, own, len(raw.names)) for own in objects]
    raw.names.append(name)
    raw.sizes.append(size)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open_text(path) as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if len(line) == LONGEST:
                raise place_error(path, f"line {number}", f"more than {LONGEST:,} characters")
            if line.strip():
                yield number, line


def _image(item: dict[str, Any], number: int, images: dict[str, Column]) -> tuple[str, Any]:
    """URL and (height, width); the line's other members are kept."""
    name = item.pop("image_url")
    if type(name) is not str or not name:
        raise Malformed("image_url is no text; write the image's path or address")
    details = item["image_details"]
    sides = []
    for key in ("height", "width"):
        side = details[key]
        if type(side) is str and side.removesuffix("px").isdecimal() and len(side) < 12:
            side = int(side.removesuffix("px"))
        sides.append(check_whole(side, key))
    if not all(0 < side < 2**31 for side in sides):
        raise Malformed("height or width is not 1 or more; write the image's size in pixels")
    images.setdefault("line", {})[number] = item
    return name, tuple(sides)


def _object(rows: Rows, item: dict[str, Any], image: int) -> str:
    """Add one object, coordinates as shares; returns the name of its class."""
    label = item.pop("label")
    if type(label) is not str:
        raise Malformed("the label of an object is no text; write its class")
    kind, stated, flags, box = NONE, 0, 0, [0.0] * 4
    if "polygon" in item:
        kind = POLYGON
        rings = item.pop("polygon")
        if type(rings) is not list or not rings or any(len(r) < 6 or len(r) % 2 for r in rings):
            raise Malformed("a polygon has fewer than 3 points or half a point; mend it")
        for ring in rings:
            rows.add_ring(ring)
    if kind == NONE or "topX" in item:
        box = check_box([item.pop(key) for key in CORNERS], "a box")
        check_extent(*box)
        stated |= BOX
    if "isCrowd" in item:
        crowd = item.pop("isCrowd")
        if type(crowd) not in (int, bool) or crowd not in (0, 1):
            raise Malformed("isCrowd is neither 0 nor 1; write one of them")
        stated, flags = stated | CROWD, CROWD if crowd else 0
    rows.image.append(image)
    rows.box.extend(box)
    rows.flags.append(flags)
    rows.stated.append(stated)
    for key, value in item.items():
        rows.keep(key, value)
    rows.close_object(kind)
    return label


def _to_pixels(found: Annotations) -> Annotations:
    """Shares to pixels; numbers that would not come back are kept as they were."""
    side, point = scale_of(found)
    values = found.masks.values * point
    if not (np.abs(values) < 1e15).all():
        raise DataError("a polygon has a point that is no pixel (NaN, infinite or huge); mend it")
    box = found.box * side
    kept = replace(
        found.kept,
        box=find_exact(box, found.box, box / side),
        values=find_exact(values, found.masks.values, values / point),
    )
    masks = replace(found.masks, values=values)
    around = bound_polygons(masks)
    lacks = (found.stated & BOX == 0) & ~np.isnan(around[:, 0])
    box[lacks] = around[lacks]
    return replace(found, box=box, masks=masks, kept=kept)


def write_jsonl(found: Annotations, path: Path) -> None:
    """One file, a line per image in order. Raises DataError where an image has no size."""
    check_sizes(found, "JSON lines")
    own = found.kept if found.format == "jsonl" else Kept()
    side, point = scale_of(found)
    boxes = own.box.restore(found.box, found.box / side)
    values = own.values.restore(found.masks.values, found.masks.values / point)
    shares = replace(found, box=boxes, masks=replace(found.masks, values=values))
    order = np.argsort(found.image, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(found.per_image())]).tolist()
    with open(path, "w", encoding="utf-8") as file:
        for number, name in enumerate(found.names):
            members = order[cuts[number] : cuts[number + 1]].tolist()
            line = {"image_url": name, **_details(found, number, own)}
            line["label"] = [_item(shares, own, n) for n in members]
            file.write(json.dumps(line) + "\n")


def check_sizes(found: Annotations, what: str) -> None:
    """Raises DataError where an image's size is not known, which shares of it need."""
    unknown = np.flatnonzero((found.size <= 0).any(axis=1))
    if len(unknown):
        raise DataError(
            f"{what}: {len(unknown):,} images have no size, the first is number {unknown[0] + 1}; "
            "state width and height in the annotations"
        )


def _details(found: Annotations, number: int, own: Kept) -> dict[str, Any]:
    if "line" in own.images:
        return dict(own.images["line"][number])
    height, width = found.size[number].tolist()
    ending = PurePosixPath(found.names[number]).suffix.lstrip(".")
    return {"image_details": {"format": ending, "width": width, "height": height}}


def _item(shares: Annotations, own: Kept, number: int) -> dict[str, Any]:
    flags, stated = int(shares.flags[number]), int(shares.stated[number])
    rings = shares.masks.rings(number) if shares.masks.kind[number] == POLYGON else []
    row: dict[str, Any] = {"label": shares.classes[shares.label[number]]}
    if not rings or (stated & BOX and shares.format == "jsonl"):
        row |= dict(zip(CORNERS, shares.box[number].tolist(), strict=True))
    if stated & CROWD or shares.format != "jsonl":  # the seeds fill it from VOC's difficult
        ignored = CROWD if shares.format == "jsonl" else CROWD | DIFFICULT
        row["isCrowd"] = 1 if flags & ignored else 0
    if rings:
        row["polygon"] = [ring.tolist() for ring in rings]
    return row | {key: column[number] for key, column in own.objects.items() if number in column}
