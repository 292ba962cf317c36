"""JSON by its pieces, as they are written: to parse and print it again would change numbers and drop repeated keys."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

_PIECE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\],:]|[^\s{}\[\],:"]++')
"""A string (the last one of a beginning may be cut), a bracket, a comma, a colon, or a number or word."""


@dataclass(slots=True)
class Part:
    """A part of a JSON text.

    Attributes:
        start, end: Where it is.
        inside: The object or array that it is a part of.
        name: Its key, if it is an object's value.
    """

    start: int
    end: int
    inside: "Container | None"
    name: str | None
    is_hidden: bool = False


@dataclass(slots=True)
class Container(Part):
    """An object or an array."""

    is_array: bool = False


@dataclass(slots=True)
class Leaf(Part):
    """A string, a number or a word; of a string, what it stands for."""

    text: str = ""
    is_string: bool = False
    is_key: bool = False


@dataclass(slots=True)
class JsonPieces:
    """A JSON text that can be cut."""

    text: str
    leaves: list[Leaf] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)

    @classmethod
    def of(cls, payload: bytes) -> "JsonPieces | None":
        """Read a payload; None when it is no JSON as the controllers' own parser reads it."""
        try:
            orjson.loads(payload)
        except orjson.JSONDecodeError:
            return None
        found = cls(payload.decode())
        found._read()
        return found

    @property
    def parts(self) -> Sequence[Part]:
        """What can be hidden; what is in another part comes after it."""
        return (*self.containers, *self.leaves)

    def spread(self) -> None:
        """Hide what is in something hidden."""
        for part in self.parts:
            part.is_hidden = part.is_hidden or (part.inside is not None and part.inside.is_hidden)

    def without_hidden(self, instead: str) -> str:
        """Return the text with another value for each that is hidden; all the rest as it was written."""
        text, at = [], 0
        for part in sorted(self.parts, key=lambda part: part.start):
            if part.is_hidden and part.start >= at:
                text += [self.text[at : part.start], instead]
                at = part.end
        return "".join((*text, self.text[at:]))

    def _read(self) -> None:
        inside: Container | None = None
        name: str | None = None
        for match in _PIECE.finditer(self.text):
            piece, start, end = match[0], match.start(), match.end()
            if piece == ":":
                key = self.leaves[-1]
                key.is_key, name = True, key.text
            elif piece in "{[":
                inside = Container(start, end, inside, name, is_array=piece == "[")
                self.containers.append(inside)
                name = None
            elif piece in "}]":
                if inside is not None:
                    inside.end = end
                    inside = inside.inside
            elif piece != ",":
                is_string = piece[0] == '"'
                text = orjson.loads(piece) if is_string else piece
                self.leaves.append(Leaf(start, end, inside, name, text=text, is_string=is_string))
                name = None


def indented(text: str, *, most: int) -> str:
    """Return JSON, or its beginning, with a line for each value and otherwise as it was; at most so many characters."""
    parts: list[str] = []
    depth = length = 0
    previous = ""
    for match in _PIECE.finditer(text):
        mark = match[0]
        if mark in "]}":
            depth -= 1
            # An empty object or array stays on its line.
            piece = mark if previous in "[{" else f"\n{'  ' * depth}{mark}"
        elif previous and previous in "[{,":
            piece = f"\n{'  ' * depth}{mark}"
        else:
            piece = mark
        if mark in "[{":
            depth += 1
        elif mark == ":":
            piece = ": "
        parts.append(piece)
        previous = mark
        length += len(piece)
        if length >= most:
            break
    return "".join(parts)[:most]
