"""COCO JSON to annotations: boxes, polygons, run lengths in text or lists, crowds.

Lossless here: `write_coco` of what was read is JSON that compares equal, whatever extra keys it
has (licences, info, anything of an image or an annotation). 15 and 15.0 are one number; the order
of keys, blanks, and the file order of the three lists are not kept, the order inside them is.

`annotations` may be an object of annotations by id, as LIVECell's files have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .coco_table import LISTS, Raw, close_table
from .rows import check_box, check_extent
from .stream import walk
from .table import (
    BOX,
    CROWD,
    DIFFICULT,
    NONE,
    OCCLUDED,
    POLYGON,
    RLE_COUNTS,
    RLE_TEXT,
    TRUNCATED,
    Annotations,
)
from .wrong import Malformed, check_whole, place_error

UNSTATED = float("nan")
PIXELS = 178_956_970
"""Largest mask taken, as the largest image: a few bytes may claim what memory cannot hold."""
FLAGS = {"iscrowd": CROWD, "difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED}


def read_coco(path: Path) -> Annotations:
    """One COCO JSON file, read as a stream. Raises DataError with the file, the place and a fix."""
    raw = Raw()
    takers = {"images": _take_image, "annotations": _take_object, "categories": _take_class}
    for key, value, number in walk(path, LISTS):
        if number < 0:
            if key.startswith("/"):
                raise place_error(path, repr(key), "a key begins with a slash; rename it")
            raw.top[f"/{key}" if key in LISTS else key] = value
            continue
        try:
            if type(value) is tuple:  # an object of annotations
                value = _unwrap(raw, *value)
            takers[key](raw, value)
        except KeyError as error:
            raise place_error(
                path, f"{key}[{number}]", f"{error} is missing; add it or remove the entry"
            ) from None
        except (Malformed, TypeError, OverflowError, ValueError, AttributeError) as error:
            said = error if isinstance(error, Malformed) else "a value has the wrong type; mend it"
            raise place_error(path, f"{key}[{number}]", said) from None
    return close_table(raw, path)


def _unwrap(raw: Raw, key: str, item: dict[str, Any]) -> dict[str, Any]:
    """An annotation, its key kept where that is not its id."""
    if key != str(item["id"]):
        raw.rows.keep("/key", key)
    return item


def _take_image(raw: Raw, item: dict[str, Any]) -> None:
    number = len(raw.names)
    image_id = check_whole(item.pop("id"), "id")
    name = item.pop("file_name")
    if not isinstance(name, str) or not name:
        raise Malformed("file_name is no text; write the image's file name")
    stated = "height" in item or "width" in item
    sides = [check_whole(item.pop(key), key) for key in ("height", "width")] if stated else [0, 0]
    if stated and not all(0 < side < 2**31 for side in sides):
        raise Malformed("height or width is not 1 or more; write the image's size in pixels")
    raw.names.append(name)
    raw.sizes.append((sides[0], sides[1]))
    raw.image_ids.append(image_id)
    for key, value in item.items():
        raw.images.setdefault(key, {})[number] = value


def _take_class(raw: Raw, item: dict[str, Any]) -> None:
    number = len(raw.class_names)
    class_id = check_whole(item.pop("id"), "id")
    name = item.pop("name")
    if not isinstance(name, str):
        raise Malformed("name is no text; write the category's name")
    raw.class_ids.append(class_id)
    raw.class_names.append(name)
    for key, value in item.items():
        raw.classes.setdefault(key, {})[number] = value


def _take_object(raw: Raw, item: dict[str, Any]) -> None:
    rows = raw.rows
    identity = check_whole(item.pop("id"), "id")
    image = check_whole(item.pop("image_id"), "image_id")
    label = check_whole(item.pop("category_id"), "category_id")
    stated, flags = _take_flags(item)
    box: Any = (0, 0, 0, 0)
    if "bbox" in item:
        box = check_box(item.pop("bbox"), "bbox")
        check_extent(0, 0, box[2], box[3])
        stated |= BOX
    elif not item.get("segmentation"):
        raise Malformed("bbox and segmentation are both missing; add one or remove the entry")
    area = _take_area(item)
    kind = _take_mask(raw, item.pop("segmentation")) if "segmentation" in item else NONE
    raw.image_of.append(image)
    raw.class_of.append(label)
    rows.object_id.append(identity)
    rows.box.extend(box)
    rows.area.append(area)
    rows.flags.append(flags)
    rows.stated.append(stated)
    for key, value in item.items():
        if key.startswith("/"):
            raise Malformed(f"the key {key!r} begins with a slash; call it something else")
        rows.keep(key, value)
    rows.close_object(kind)


def _take_flags(item: dict[str, Any]) -> tuple[int, int]:
    """Which flags an annotation states, and which it sets."""
    stated = flags = 0
    for key, bit in FLAGS.items():
        if key in item:
            value = item.pop(key)
            if type(value) not in (int, bool) or value not in (0, 1):
                raise Malformed(f"{key} is neither 0 nor 1; write one of them")
            stated |= bit
            flags |= bit if value else 0
    return stated, flags


def _take_area(item: dict[str, Any]) -> float:
    if "area" not in item:
        return UNSTATED
    area = item.pop("area")
    if type(area) not in (int, float) or not 0 <= area < 1e300:
        raise Malformed("area is no number of 0 or more; write the mask's pixels")
    return area


def _take_mask(raw: Raw, mask: Any) -> int:
    """Add a segmentation to the object that is being read; returns its kind."""
    if type(mask) is list:
        for ring in mask:
            if type(ring) is not list or len(ring) < 6 or len(ring) % 2:
                raise Malformed("a polygon has fewer than 3 points or half a point; mend it")
            raw.rows.add_ring(ring)
        return POLYGON
    if type(mask) is not dict or set(mask) != {"size", "counts"} or len(mask["size"]) != 2:
        raise Malformed("segmentation is neither polygons nor {size, counts}; write one")
    height, width = (check_whole(side, "segmentation.size") for side in mask["size"])
    if min(height, width) < 1 or height * width > PIXELS:
        raise Malformed(f"segmentation.size is not 1 to {PIXELS:,} pixels; mend it")
    raw.mask_sizes[len(raw.rows)] = height, width
    counts = mask["counts"]
    if type(counts) is str:
        raw.texts.append((len(raw.rows), counts))
        raw.rows.add_ring([])  # the runs come in when all texts are decoded at once
        return RLE_TEXT
    if type(counts) is not list or set(map(type, counts)) - {int}:
        raise Malformed("segmentation.counts is neither text nor a list of whole numbers; mend it")
    raw.rows.add_ring(counts)
    return RLE_COUNTS
