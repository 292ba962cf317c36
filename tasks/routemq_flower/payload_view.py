"""How a payload is shown: indented JSON, text, or a hex dump; never more than a browser likes."""

import codecs
import re
from typing import Any

from pydantic_core import from_json

MOST_SHOWN_CHARACTERS = 32_768
_MOST_DUMPED_BYTES = 4_096
_MOST_READ_BYTES = 131_072
"""Enough for so many characters; whether a longer payload is JSON, its beginning must tell."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{},:]|[^\s\[\]{},:"]+')


def payload_view(payload: bytes, *, size: int | None = None) -> dict[str, Any]:
    """Return what the page shows of a payload; only its beginning is looked at.

    Args:
        payload: All of it, or its beginning.
        size: How many bytes it has in all, when these are not all.

    Returns:
        `kind` (`empty`, `json`, `text` or `binary`), `bytes`, and the texts there are for it: `json` (indented, with
        every number and escape as it was sent), `text`, `hex`. `is_cut` when they are not all of it.
    """
    total = len(payload) if size is None else size
    head = payload[:_MOST_READ_BYTES]
    is_whole = len(head) == total
    view: dict[str, Any] = {"kind": "empty", "bytes": total, "is_cut": not is_whole}
    if not head:
        return view
    dump = hex_dump(head[:_MOST_DUMPED_BYTES])
    text = _text(head, is_whole=is_whole)
    if text is None:
        view.update(kind="binary", is_cut=total > _MOST_DUMPED_BYTES, hex=dump)
        return view
    view.update(kind="text", text=text[:MOST_SHOWN_CHARACTERS])
    view["is_cut"] |= len(text) > MOST_SHOWN_CHARACTERS
    if _is_json(text, is_whole=is_whole):
        shown = indented(text, most=MOST_SHOWN_CHARACTERS)
        view.update(kind="json", json=shown)
        view["is_cut"] |= len(shown) >= MOST_SHOWN_CHARACTERS
    view["hex"] = dump
    return view


def indented(text: str, *, most: int) -> str:
    """Return valid JSON with a line for each value, otherwise as it was; no more than so many characters.

    Parsing and printing it again would change numbers and drop repeated keys, which may be the very mistake.
    """
    parts: list[str] = []
    depth = length = 0
    previous = ""
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark in "]}":
            depth -= 1
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


def hex_dump(data: bytes) -> str:
    """Return lines of offset, sixteen bytes, and their ASCII."""
    lines = []
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{offset:08x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  {readable}")
    return "\n".join(lines)


def _text(head: bytes, *, is_whole: bool) -> str | None:
    try:
        # The last character of a beginning may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text


def _is_json(head: str, *, is_whole: bool) -> bool:
    try:
        from_json(head, allow_inf_nan=False, allow_partial="off" if is_whole else "trailing-strings")
    except ValueError:
        return False
    return True
