"""A large JSON object element by element: memory is a few megabytes, whatever the file has.

Python's own C scanner reads each element. Refused, with the character where: what is not UTF-8,
ends too early, nests deeper than the interpreter allows, says NaN or Infinity, or has one element
of more than 64 million characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..errors import DataError
from .wrong import Malformed, place_error

CHUNK = 1 << 22
LONGEST = 64 << 20
"""Characters of one element."""
BLANK = re.compile(r"[ \t\r\n]*")


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is no number of JSON; write one, or leave the key out")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(text: str) -> Any:
    """A whole JSON text. Raises Malformed where it is none, says NaN, or nests too deeply."""
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed(f"no JSON at character {error.pos + 1:,} ({error.msg}); mend it") from None
    except RecursionError:
        raise Malformed("brackets nest too deeply for annotations; flatten it") from None
    except ValueError:  # a whole number of more than 4,300 digits
        raise Malformed("a number has thousands of digits; write a shorter one") from None


def walk(path: Path, rows: Collection[str]) -> Iterator[tuple[str, Any, int]]:
    """Members of the JSON object in a file: (key, value, -1), and for the lists that `rows` names
    (key, element, number) for each element, after (key, "[", -1) or (key, "{", -1), which says
    that it is a list or an object of them; elements of an object are pairs (key, value).

    Raises DataError with file and character where the file is no such JSON.
    """
    with open_text(path) as file:
        yield from _Reader(file, path).members(rows)


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file to read. DataError where that, or its being UTF-8, fails while it is open."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; mend the path or its permissions"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8 again") from None


class _Reader:
    """A window on the text: `buffer` from `place` on is what nobody has read yet."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.buffer, self.place, self.before, self.ended = "", 0, 0, False

    def members(self, rows: Collection[str]) -> Iterator[tuple[str, Any, int]]:
        self.expect("{", "a JSON object, as COCO annotations are")
        seen: set[str] = set()
        while self.separated("}", first=not seen):
            key = self.key()
            if key in seen:
                raise self.wrong(f"the key {key!r} stands there twice; join the two")
            seen.add(key)
            if key in rows:
                yield from self.elements(key)
            else:
                yield key, self.value(), -1
        if self.peek():
            raise self.wrong("something follows the end of the JSON; remove it")

    def elements(self, key: str) -> Iterator[tuple[str, Any, int]]:
        opening = self.peek()
        if opening not in ("[", "{"):
            raise self.wrong(f"{key!r} is no list; write one")
        self.place += 1
        yield key, opening, -1
        closing, number = "]" if opening == "[" else "}", 0
        while self.separated(closing, first=not number):
            if opening == "{":
                own = self.key()
                yield key, (own, self.value()), number
            else:
                yield key, self.value(), number
            number += 1

    def key(self) -> str:
        key = self.value()
        if not isinstance(key, str):
            raise self.wrong("a key is no text; mend the JSON")
        self.expect(":", "a colon after a key")
        return key

    def separated(self, closing: str, first: bool) -> bool:
        """Whether another element follows; steps over the comma, or over `closing`."""
        found = self.peek()
        if found == closing:
            self.place += 1
            return False
        if not first:
            self.expect(",", f"a comma or {closing}")
        return True

    def value(self) -> Any:
        """The value that comes next, reading on while it may be cut at the window's end."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.buffer, self.place)
                if end < len(self.buffer) or self.ended:
                    self.place = end
                    return value
            except json.JSONDecodeError as error:
                if self.ended or len(self.buffer) - self.place > LONGEST:
                    self.place = error.pos
                    raise self.wrong(f"{error.msg}; the file is cut off or no JSON") from None
            except RecursionError:
                raise self.wrong("brackets nest too deeply for annotations; flatten it") from None
            except (Malformed, ValueError) as error:
                said = error if isinstance(error, Malformed) else "a number is too long; mend it"
                raise self.wrong(str(said)) from None
            self.more()

    def expect(self, letter: str, what: str) -> None:
        if self.peek() != letter:
            raise self.wrong(f"{what} is missing; the file is cut off or no JSON")
        self.place += 1

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            blank = BLANK.match(self.buffer, self.place)
            self.place = blank.end() if blank else self.place
            if self.place < len(self.buffer) or self.ended:
                return self.buffer[self.place : self.place + 1]
            self.more()

    def more(self) -> None:
        """As much again as is left, so that reading a long element stays linear."""
        rest = self.buffer[self.place :]
        chunk = self.file.read(max(CHUNK, len(rest)))
        self.before += self.place
        self.buffer, self.place, self.ended = rest + chunk, 0, not chunk

    def wrong(self, what: str) -> DataError:
        return place_error(self.path, f"character {self.before + self.place + 1:,}", what)
