"""XML without what makes it dangerous: a file with a DOCTYPE is refused before anything expands.

Entities can only be defined in a DOCTYPE, so without one there are no bombs and no foreign files.
Sizes and depth are bounded too. An element is [tag, attributes, text, children], text stripped.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from .wrong import Malformed

LONGEST = 16 << 20
"""Bytes of one XML file."""
DEEPEST = 32
Node = list[Any]


def parse_xml(text: str) -> Node:
    """The root of a document. Raises Malformed with the line; comments and blanks are dropped."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.words
    try:
        # The text is Unicode already; an encoding that its first line names is passed over.
        parser.Parse(text.encode("utf-8", errors="surrogatepass"), True)
    except expat.ExpatError as error:
        raise Malformed(
            f"line {error.lineno}: {expat.ErrorString(error.code)}; the XML is cut off or damaged"
        ) from None
    return builder.root


def _refuse_doctype(*words: Any) -> None:
    raise Malformed("the XML has a DOCTYPE, which may hide anything; remove that line")


class _Builder:
    """Builds nested lists from the parser's events."""

    def __init__(self) -> None:
        self.root: Node = []
        self.open: list[Node] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        node: Node = [tag, attributes, "", []]
        if len(self.open) >= DEEPEST:
            raise Malformed(f"elements nest deeper than {DEEPEST}; no annotation does")
        if self.open:
            self.open[-1][3].append(node)
        else:
            self.root = node
        self.open.append(node)

    def end(self, tag: str) -> None:
        node = self.open.pop()
        node[2] = node[2].strip()

    def words(self, text: str) -> None:
        self.open[-1][2] += text


def find(node: Node, tag: str) -> Node | None:
    """The first child of that tag. Raises Malformed where there are two."""
    own = [child for child in node[3] if child[0] == tag]
    if len(own) > 1:
        raise Malformed(f"<{node[0]}> has {len(own)} times <{tag}>; keep one")
    return own[0] if own else None


def need(node: Node, tag: str) -> Node:
    """The child of that tag. Raises Malformed where it is missing."""
    own = find(node, tag)
    if own is None:
        raise Malformed(f"<{node[0]}> has no <{tag}>; add it")
    return own


def number(node: Node) -> float:
    """The finite number that an element says. Raises Malformed where it says none."""
    try:
        value = float(node[2])
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:
        raise Malformed(f"<{node[0]}> is no number; write one")
    return value


def put(node: Node, tag: str, value: str | float) -> None:
    """Set a child's text, adding the child; a text that says the same number already stays."""
    own = find(node, tag)
    if own is None:
        own = [tag, {}, "", []]
        node[3].append(own)
    if isinstance(value, str):
        own[2] = value
        return
    try:
        same = float(own[2]) == value
    except ValueError:
        same = False
    if not same:
        own[2] = str(int(value)) if value == int(value) else repr(float(value))


def write_xml(node: Node, depth: int = 0) -> str:
    """A document's text, indented by tabs."""
    tag, attributes, text, children = node
    pad = "\t" * depth
    head = f"{pad}<{tag}" + "".join(f" {k}={quoteattr(v)}" for k, v in attributes.items()) + ">"
    if not children:
        return f"{head}{escape(text)}</{tag}>\n"
    inner = "".join(write_xml(child, depth + 1) for child in children)
    return f"{head}{escape(text)}\n{inner}{pad}</{tag}>\n"
