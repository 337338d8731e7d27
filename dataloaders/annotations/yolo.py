"""YOLO text files, one per image: `class x y w h` (centre and size) or `class x y x y ...`.

Numbers are shares of the image, so its size is read from the image's header: a folder has
`labels/**/*.txt` and `images/**`, or both kinds of file side by side, and names its classes in
`data.yaml` or `classes.txt`. Images without a text file have no objects.

Lossless here: numbers compare equal, classes, lines and their order are kept, and which images
have no text file. Of `data.yaml` only the names are read and written; images are not copied.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from .class_names import PLAIN, find_names, read_names, write_names
from .exact import find_exact
from .jsonl import check_sizes
from .outside import check_targets, is_image, list_files, read_size, write_file
from .rows import LARGEST, Rows
from .shapes import bound_polygons, measure_polygon, scale_of
from .table import CROWD, NONE, POLYGON, Annotations, Kept
from .wrong import Malformed, call_file, place_error, read_text, short_hash

LONGEST = 64 << 20
"""Bytes of one text file."""


def read_yolo(root: Path) -> Annotations:
    """A YOLO folder. Raises DataError with the file (by number and hash), the line and a fix."""
    names_file = find_names(root)
    declared = read_names(names_file) if names_file else {}
    labels, pictures = _folders(root)
    images = _images(pictures)
    texts = {
        path.relative_to(labels).with_suffix("").as_posix(): path
        for path in list_files(labels, ".txt")
        if names_file is None or path.name not in PLAIN
    }
    strangers = sorted(set(texts) - set(images))
    if strangers:
        raise DataError(
            f"{labels}: {len(strangers):,} text files have no image in {pictures}, the first has "
            f"the hash {short_hash(strangers[0])}; shares need the image's size, so add the images"
        )
    rows, numbers = Rows(), []
    for image, stem in enumerate(images):
        if stem in texts:
            numbers += _read_file(rows, texts[stem], image)
    size = np.array([_size(path, n) for n, path in enumerate(images.values())], np.int32)
    names = tuple(path.relative_to(pictures).as_posix() for path in images.values())
    known = {**declared, **{n: f"class {n}" for n in sorted(set(numbers)) if n not in declared}}
    place = {number: n for n, number in enumerate(known)}
    rows.label.extend(place[number] for number in numbers)
    listed = np.array([n in declared for n in known], bool)
    silent = {n: True for n, stem in enumerate(images) if stem not in texts}
    found = rows.close(
        "yolo",
        (names, size.reshape(-1, 2), np.arange(1, len(names) + 1)),
        (tuple(known.values()), np.array(list(known), np.int64), listed),
        Kept(images={"silent": silent} if silent else {}),
    )
    return _to_pixels(found)


def _folders(root: Path) -> tuple[Path, Path]:
    """Where the text files and where the images are."""
    labels = root / "labels" if (root / "labels").is_dir() else root
    pictures = root / "images" if (root / "images").is_dir() else labels
    if root.name == "labels" and (root.parent / "images").is_dir():
        pictures = root.parent / "images"
    return labels, pictures


def _images(pictures: Path) -> dict[str, Path]:
    """Images by their path without the ending, sorted."""
    found: dict[str, Path] = {}
    for number, path in enumerate(list_files(pictures, "")):
        if not is_image(path):
            continue
        stem = path.relative_to(pictures).with_suffix("").as_posix()
        if stem in found:
            said = "another image differs in the ending only, and both mean one text file"
            raise DataError(f"{call_file(path, number)}: {said}; rename one")
        found[stem] = path
    return found


def _size(path: Path, number: int) -> tuple[int, int]:
    size = read_size(path)
    if not all(size):
        raise DataError(
            f"{call_file(path, number)} is no image that can be read; mend or remove it"
        )
    return size


def _read_file(rows: Rows, path: Path, image: int) -> list[int]:
    """Add the objects of one text file; returns their class numbers."""
    called, numbers = call_file(path, image), []
    for line, text in enumerate(read_text(path, LONGEST, called).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        try:
            numbers.append(_object(rows, words, image))
        except Malformed as error:
            raise place_error(called, f"line {line}", error) from None
    return numbers


def _object(rows: Rows, words: list[str], image: int) -> int:
    try:
        number, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise Malformed("a word is no number; write `class x y w h`") from None
    if not 0 <= number < 2**31:
        raise Malformed("the class number is negative or huge; count classes from 0")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise Malformed(
            f"{len(values)} numbers follow the class; a box has 4, a polygon x and y of 3 or more"
        )
    if not all(abs(value) < LARGEST for value in values):
        raise Malformed("a number is NaN, infinite or huge; write shares of the image, 0 to 1")
    if len(values) == 4 and min(values[2:]) < 0:
        raise Malformed("the box has a negative width or height; mend or remove the line")
    rows.image.append(image)
    rows.box.extend(values if len(values) == 4 else (0, 0, 0, 0))
    rows.flags.append(0)
    rows.stated.append(0)
    if len(values) > 4:
        rows.add_ring(values)
    rows.close_object(POLYGON if len(values) > 4 else NONE)
    return number


def _to_pixels(found: Annotations) -> Annotations:
    side, point = scale_of(found)
    written = found.box
    centre, half = written[:, :2] * side[:, :2], written[:, 2:] * side[:, :2] / 2
    box = np.concatenate([centre - half, centre + half], axis=1)
    values = found.masks.values * point
    kept = replace(
        found.kept,
        box=find_exact(box, written, _centres(box, side)),
        values=find_exact(values, found.masks.values, values / point),
    )
    masks = replace(found.masks, values=values)
    polygons = found.masks.kind == POLYGON
    box[polygons] = bound_polygons(masks)[polygons]
    return replace(found, box=box, masks=masks, kept=kept)


def _centres(box: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(A,4) corners in pixels -> (A,4) centre and size in shares."""
    shares = box / side
    middle = (shares[:, :2] + shares[:, 2:]) / 2
    return np.concatenate([middle, shares[:, 2:] - shares[:, :2]], axis=1)


def write_yolo(found: Annotations, root: Path) -> None:
    """`root/labels/*.txt`, `data.yaml` and `classes.txt`. Raises DataError where an image has no
    size or two images share a name. Crowds are left out, of several rings the largest is written.
    """
    check_sizes(found, "YOLO")
    stems = [str(Path(name).with_suffix("")) for name in found.names]
    check_targets(stems, "the annotations", unique=True)
    own = found.kept if found.format == "yolo" else Kept()
    side, point = scale_of(found)
    boxes = own.box.restore(found.box, _centres(found.box, side))
    values = own.values.restore(found.masks.values, found.masks.values / point)
    shares = replace(found, box=boxes, masks=replace(found.masks, values=values))
    numbers = found.class_id if found.format == "yolo" else np.arange(len(found.classes))
    order = np.argsort(found.image, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(found.per_image())]).tolist()
    silent = own.images.get("silent", {})
    for image, stem in enumerate(stems):
        members = order[cuts[image] : cuts[image + 1]]
        members = members[found.flags[members] & CROWD == 0]
        if len(members) or image not in silent:
            lines = [_line(shares, n, int(numbers[found.label[n]])) for n in members.tolist()]
            write_file(root / "labels", stem, ".txt", "".join(lines))
    listed = found.declared if found.format == "yolo" else np.ones(len(numbers), bool)
    pairs = zip(numbers.tolist(), found.classes, listed.tolist(), strict=True)
    root.mkdir(parents=True, exist_ok=True)
    if names := {number: name for number, name, good in pairs if good}:
        write_names(names, root)


def _line(shares: Annotations, number: int, label: int) -> str:
    values = shares.box[number]
    if shares.masks.kind[number] == POLYGON and (rings := shares.masks.rings(number)):
        values = max(rings, key=measure_polygon)
    return f"{label} {' '.join(map(repr, values.tolist()))}\n"
