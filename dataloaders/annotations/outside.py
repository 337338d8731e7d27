"""Files beside annotations: folders of one kind, images' sizes, and where files are written.

Names come out of files that anybody may have written: one that leaves its folder is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ..errors import DataError
from ..folder import IMAGES
from .wrong import place_error, short_hash


def list_files(folder: Path, ending: str | tuple[str, ...]) -> list[Path]:
    """Files below `folder`, sorted by name; dot files are passed over. DataError without any."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; name the folder of the annotations")
    found = [path for path in _walk(folder) if path.name.lower().endswith(ending)]
    if not found:
        raise DataError(f"{folder} has no {ending} files; name the folder of the annotations")
    return sorted(found)


def _walk(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def is_inside(name: str) -> bool:
    """Whether a name stays in the folder that it is joined to."""
    parts = PurePosixPath(name).parts
    plain = bool(name) and not name.startswith("/") and ".." not in parts
    return plain and not set(name) & set("\\\0") and ":" not in name


def check_targets(names: Sequence[str], what: str, unique: bool = False) -> None:
    """Raises DataError where a name leaves its folder, or two are one and `unique` is asked."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not is_inside(name):
            raise place_error(
                what, f"image {number + 1}", "its name leads out of the folder; rename it"
            )
        if unique and name in seen:
            raise place_error(
                what,
                f"image {number + 1} (hash {short_hash(name)})",
                "another image has its name or differs in the ending only; join or rename them",
            )
        seen.add(name)


def write_file(folder: Path, stem: str, ending: str, text: str) -> None:
    """Write one file below `folder`. Raises DataError for what UTF-8 cannot say."""
    path = folder / f"{stem}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"a name in the file with hash {short_hash(stem)} for {folder} is no Unicode; rename it"
        ) from None


def find_image(folder: Path, name: str) -> Path | None:
    """The image `name` in `folder`: by its path there, else by its last part; None: missing."""
    last = name.replace("\\", "/").rpartition("/")[2]
    for own in (name, last):
        if is_inside(own) and (folder / own).is_file():
            return folder / own
    return None


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the image's header; (0, 0) where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception:  # Pillow raises many kinds on damage; which one does not matter here
        return 0, 0


def is_image(path: Path) -> bool:
    """Whether a file's ending is that of an image that we read."""
    return path.name.lower().endswith(IMAGES)
