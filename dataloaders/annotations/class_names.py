"""Names of YOLO's class numbers: `classes.txt`, `obj.names`, or the names in a `data.yaml`.

Of YAML only what such files use is read, line by line: `names: [a, b]`, a list with dashes, or
`0: a` lines. Anything else is refused with the way out; no YAML library is needed for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import DataError
from .wrong import Malformed, place_error, read_text

LONGEST = 1 << 20
PLAIN = ("classes.txt", "obj.names", "names.txt", "labels/classes.txt")
YAML = ("data.yaml", "data.yml", "dataset.yaml")


def find_names(root: Path) -> Path | None:
    """The file in a YOLO folder, or beside it, that names the classes."""
    places = [folder / name for folder in (root, root.parent) for name in (*YAML, *PLAIN)]
    return next((path for path in places if path.is_file()), None)


def read_names(path: Path) -> dict[int, str]:
    """Class number -> name. Raises DataError with the file and the line."""
    text = read_text(path, LONGEST, path)
    if path.suffix not in (".yaml", ".yml"):
        lines = text.rstrip().splitlines()
        return dict(enumerate(line.strip() for line in lines))
    try:
        return _read_yaml(text.splitlines())
    except Malformed as error:
        raise DataError(f"{path}: {error}; write a classes.txt with one name a line") from None


def write_names(names: dict[int, str], root: Path) -> None:
    """`classes.txt` where numbers count from 0 without a gap, and `data.yaml` always."""
    path = root / "classes.txt"
    for number, name in names.items():
        if not name or name != name.strip() or not name.isprintable():
            raise place_error(path, f"class {number}", "its name does not fit on a line; rename it")
    if list(names) == list(range(len(names))):
        path.write_text("".join(f"{name}\n" for name in names.values()), encoding="utf-8")
    rows = "".join(f"  {number}: {_quote(name)}\n" for number, name in names.items())
    text = f"path: .\ntrain: images\nval: images\nnames:\n{rows}"
    (root / "data.yaml").write_text(text, encoding="utf-8")


def _quote(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _read_yaml(lines: list[str]) -> dict[int, str]:
    for number, line in enumerate(lines):
        if re.match(r"names\s*:", line):
            rest = line.partition(":")[2].strip()
            if rest and not rest.startswith("#"):
                return _read_flow(rest, lines[number + 1 :])
            return _read_block(lines[number + 1 :])
    raise Malformed("there is no line `names:`")


def _read_flow(rest: str, after: list[str]) -> dict[int, str]:
    """`[a, 'b', ...]`, over several lines if need be."""
    text = " ".join([rest, *after])
    inner = re.match(
        r"\[((?:\s*(?:'(?:[^']|'')*'|\"[^\"\\]*\"|[^\s'\",\[\]{}#][^,\[\]{}#]*)\s*,?)*)\]", text
    )
    if not inner:
        raise Malformed("`names:` is no plain list")
    found = re.findall(r"'(?:[^']|'')*'|\"[^\"]*\"|[^\s,'\"][^,]*", inner[1])
    return dict(enumerate(_scalar(word) for word in found))


def _read_block(lines: list[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        item = re.fullmatch(r"\s*-\s+(.+)", line)
        pair = re.fullmatch(r"\s+(\d{1,9})\s*:\s+(.+)", line)
        if item:
            found[len(found)] = _scalar(item[1])
        elif pair:
            found[int(pair[1])] = _scalar(pair[2])
        elif line[0] in " \t":
            raise Malformed("a line below `names:` is neither `- name` nor `0: name`")
        else:
            break
    if not found:
        raise Malformed("`names:` has no names")
    return found


def _scalar(text: str) -> str:
    text = text.strip()
    quoted = re.match(r"'((?:[^']|'')*)'|\"([^\"\\]*)\"", text)
    if quoted:
        return quoted[1].replace("''", "'") if quoted[1] is not None else quoted[2]
    return text.partition(" #")[0].strip()
