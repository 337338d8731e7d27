"""Pascal VOC XML, a file per image: `Annotations/*.xml`, splits in `ImageSets/Main/*.txt`.

Coordinates are taken as the file has them: a box is (xmin, ymin, xmax, ymax), its width is
xmax - xmin. VOC itself counts pixels from 1 and means the last one inclusively, most tools that
write its XML count from 0, and a file does not say which (BCCD does not); the boxes are at most a
pixel off, and no number changes on the way.

Lossless here: every element, its order, attributes and text, except that in an image's file its
objects come last, and comments and blanks go. Splits are read and not written.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .markup import LONGEST, Node, find, need, number, parse_xml, put, write_xml
from .outside import check_targets, list_files, write_file
from .rows import Rows, check_extent, close_classes, number_classes
from .table import CROWD, DIFFICULT, NONE, OCCLUDED, TRUNCATED, Annotations, Column, Kept
from .wrong import Malformed, call_file, place_error, read_text

FLAGS = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED}
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: Path, split: str = "", classes: Sequence[str] = ()) -> Annotations:
    """A VOC folder, a folder of XML files or one file; `split` names a list in ImageSets/Main.

    `classes` fixes their order (and others are undeclared); without it they are the sorted names
    that objects have. Raises DataError with the file (by number and hash), the place and a fix.
    """
    files = _list(root, split)
    rows = Rows()
    names: list[str] = []
    labels: list[str] = []
    sizes: list[tuple[int, int]] = []
    files_of: Column = {}
    trees: Column = {}
    for place, path in enumerate(files):
        called = call_file(path, place)
        try:
            tree = parse_xml(read_text(path, LONGEST, called))
            name, size = _image(tree)
            for node in [child for child in tree[3] if child[0] == "object"]:
                labels.append(_object(rows, node, len(names)))
                tree[3].remove(node)
        except Malformed as error:
            where = f"object {np.sum(np.array(rows.image) == len(names)) + 1}"
            raise place_error(called, where if "<object>" in str(error) else "XML", error) from None
        names.append(name)
        sizes.append(size)
        trees[place] = tree
        stem = path.relative_to(_folder(root)).with_suffix("").as_posix()
        if stem != Path(name).stem:
            files_of[place] = stem
    places = number_classes(labels, classes)
    rows.label.extend(places[label] for label in labels)
    sides = np.array(sizes, np.int32).reshape(-1, 2)
    images = (tuple(names), sides, np.arange(1, len(names) + 1))
    kept = Kept(images={"tree": trees, "file": files_of}, objects=rows.extra)
    return rows.close("voc", images, close_classes(places, classes), kept)


def _folder(root: Path) -> Path:
    """Where the XML files are."""
    if root.is_file():
        return root.parent
    return root / "Annotations" if (root / "Annotations").is_dir() else root


def _list(root: Path, split: str) -> list[Path]:
    """The XML files in order of their names, or those of a split in the order of its list."""
    if root.is_file():
        return [root]
    folder = _folder(root)
    if not split:
        return list_files(folder, ".xml")
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    lines = [line.split() for line in read_text(listing, LONGEST, listing).splitlines()]
    # Lists of one class say "name 1", "name -1" or "name 0" and are no splits.
    stems = [words[0] for words in lines if words]
    check_targets(stems, str(listing))
    paths = [folder / f"{stem}.xml" for stem in stems]
    for line, path in enumerate(paths, 1):
        if not path.is_file():
            raise place_error(
                listing, f"entry {line}", f"{folder} has no XML file of that name; add it"
            )
    return paths


def _image(tree: Node) -> tuple[str, tuple[int, int]]:
    """File name and (height, width), 0 where the file does not say."""
    if tree[0] != "annotation":
        raise Malformed(f"the root is <{tree[0][:40]}>, not <annotation>; name a VOC file")
    name = need(tree, "filename")[2]
    if not name:
        raise Malformed("<filename> is empty; write the image's file name")
    size = find(tree, "size")
    if size is None:
        return name, (0, 0)
    height, width = (number(need(size, tag)) for tag in ("height", "width"))
    if not all(0 <= side < 2**31 and side == int(side) for side in (height, width)):
        raise Malformed("<size> is not whole pixels of 0 or more; write the image's size")
    return name, (int(height), int(width))


def _object(rows: Rows, node: Node, image: int) -> str:
    """Add one object; returns the name of its class."""
    label = need(node, "name")[2]
    if not label:
        raise Malformed("<name> of an <object> is empty; write its class")
    box = need(node, "bndbox")
    try:
        corners = [number(need(box, tag)) for tag in CORNERS]
        check_extent(*corners)
    except Malformed as error:
        raise Malformed(f"<object>: {error}") from None
    stated = flags = 0
    for tag, bit in FLAGS.items():
        own = find(node, tag)
        if own is None:
            continue
        if own[2] not in ("0", "1"):
            raise Malformed(f"<{tag}> of an <object> is neither 0 nor 1; write one of them")
        stated, flags = stated | bit, flags | bit * int(own[2])
    rows.image.append(image)
    rows.box.extend(corners)
    rows.flags.append(flags)
    rows.stated.append(stated)
    rows.keep("tree", node)
    rows.close_object(NONE)
    return label


def write_voc(found: Annotations, root: Path) -> None:
    """`root/Annotations/*.xml`. Raises DataError for names that are no plain file names."""
    own = found.kept if found.format == "voc" else Kept()
    files: Column = own.images.get("file", {})
    stems = [files.get(n) or str(Path(name).with_suffix("")) for n, name in enumerate(found.names)]
    check_targets(stems, "the annotations", unique=True)
    order = np.argsort(found.image, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(found.per_image())]).tolist()
    for number_, stem in enumerate(stems):
        tree = copy.deepcopy(own.images.get("tree", {}).get(number_)) or _new_tree(found, number_)
        put(tree, "filename", found.names[number_])
        if found.size[number_].any():
            size = need(tree, "size")
            put(size, "width", int(found.size[number_, 1]))
            put(size, "height", int(found.size[number_, 0]))
        members = order[cuts[number_] : cuts[number_ + 1]].tolist()
        tree[3] += [_write_object(found, n, own.objects.get("tree", {})) for n in members]
        write_file(root / "Annotations", stem, ".xml", write_xml(tree))


def _new_tree(found: Annotations, number_: int) -> Node:
    sides = [["width", {}, "", []], ["height", {}, "", []], ["depth", {}, "3", []]]
    size: Any = ["size", {}, "", sides if found.size[number_].any() else []]
    return ["annotation", {}, "", [["filename", {}, "", []], *([size] if size[3] else [])]]


def _write_object(found: Annotations, number_: int, trees: Column) -> Node:
    node: Node = copy.deepcopy(trees.get(number_, ["object", {}, "", []]))
    put(node, "name", found.classes[found.label[number_]])
    flags, stated = int(found.flags[number_]), int(found.stated[number_])
    if found.format != "voc":  # a crowd is not scored, which VOC calls difficult
        flags |= DIFFICULT if flags & CROWD else 0
        stated |= DIFFICULT
    for tag, bit in FLAGS.items():
        if stated & bit:
            put(node, tag, 1 if flags & bit else 0)
    if find(node, "bndbox") is None:
        node[3].append(["bndbox", {}, "", []])
    box = need(node, "bndbox")
    for tag, value in zip(CORNERS, found.box[number_].tolist(), strict=True):
        put(box, tag, value)
    return node
