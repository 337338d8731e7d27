"""Names inside an archive: which are refused, which are the same name to some file system."""

from __future__ import annotations

import re
import unicodedata

from ..errors import DataError

DEPTH, COMPONENT_BYTES, PATH_BYTES = 16, 255, 1024
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LITTER = re.compile(r"(?:^|/)(?:__MACOSX(?:/|$)|\._[^/]*$|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")


def check_name(raw: str) -> tuple[str, ...]:
    """The parts of an archive's name, `("train", "CNV", "a.jpeg")`; () for the root itself.

    Raises DataError, without the name, for one that could leave the root or mislead a reader.
    """
    if reason := _fault(raw):
        raise DataError(f"the archive holds a name that {reason}")
    parts = tuple(part for part in raw.split("/") if part not in ("", "."))
    if len(parts) > DEPTH:
        raise DataError(f"the archive holds folders nested more than {DEPTH} deep")
    if any(len(part.encode()) > COMPONENT_BYTES for part in parts):
        raise DataError(f"the archive holds a name of more than {COMPONENT_BYTES} bytes")
    return parts


def _fault(raw: str) -> str:
    if not raw.isprintable() and _CONTROL.search(raw):
        return "has control characters in it"
    try:
        size = len(raw.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if size > PATH_BYTES:
        return f"is longer than {PATH_BYTES} bytes"
    if raw.startswith("/"):
        return "starts at the root of the disk"
    if "\\" in raw:
        return "has a backslash in it, which some systems read as a folder"
    if _DRIVE.match(raw):
        return "starts with a drive letter"
    if ".." in raw.split("/"):
        return "steps out of its folder (..)"
    strange = any(part not in ("", ".") and not _fold(part) for part in raw.split("/"))
    return "is dots and spaces only" if strange else ""


def is_litter(parts: tuple[str, ...]) -> bool:
    """Whether a desktop left it there: `__MACOSX/`, `._x`, `.DS_Store`, `Thumbs.db`."""
    return bool(_LITTER.search("/".join(parts)))


class Taken:
    """The names met so far. One that some file system would take for another is refused."""

    def __init__(self) -> None:
        self._spelt: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()

    def add(self, parts: tuple[str, ...], folder: bool) -> None:
        """Raises DataError for a second file of a name, a file where a folder is, or two names
        that differ only in case, accents written in another way, or dots and spaces at the end."""
        for length in range(1, len(parts) + 1):
            key = tuple(_fold(part) for part in parts[:length])
            last = length == len(parts) and not folder
            if self._spelt.setdefault(key, parts[:length]) != parts[:length]:
                raise DataError("the archive holds two names that differ in case or spelling only")
            if key in self._files:
                what = "the same file twice" if last else "a file where it also has a folder"
                raise DataError(f"the archive holds {what}")
            if last:
                if key in self._folders:
                    raise DataError("the archive holds a file where it also has a folder")
                self._files.add(key)
            else:
                self._folders.add(key)


def _fold(part: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold())
    return plain.rstrip(". ")
