"""How a reader says that a file is wrong: one line with file, place and what to do.

An image's name may hold a patient's, so nothing here repeats one: a file that is named after an
image is called by its folder, its number in the order of names and a hash of its name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import DataError


class Malformed(Exception):
    """What is wrong and what to do, without the place: the reader that catches it knows that."""


def short_hash(name: str) -> str:
    """Twelve hexadecimal digits that stand for a name in messages and artefacts."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]


def place_error(file: str | Path, place: str, what: object) -> DataError:
    """The DataError to raise: `<file>, <place>: <what>`."""
    return DataError(f"{file}, {place}: {what}")


def call_file(path: Path, number: int) -> str:
    """A file named after an image, called without its name; `number` counts from 0."""
    return f"{path.parent}: file {number + 1} by name (hash {short_hash(path.stem)})"


def read_text(path: Path, most: int, called: str | Path) -> str:
    """The text of a UTF-8 file of at most `most` bytes. Raises DataError that says `called`."""
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise DataError(
            f"{called} cannot be read: {error.strerror}; mend the path or its permissions"
        ) from None
    if len(data) > most:
        raise DataError(f"{called} has more than {most:,} bytes, which no annotation needs; cut it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{called}, byte {error.start:,}: not UTF-8; save the file as UTF-8 again"
        ) from None


def check_whole(value: object, what: str) -> int:
    """`value` where it is a whole number that fits 64 bits. Raises Malformed."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Malformed(f"{what} is no whole number; write one")
    return value
