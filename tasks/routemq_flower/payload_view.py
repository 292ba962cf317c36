"""How a payload is shown: indented JSON, text, or a hex dump; never more than a browser likes."""

import re
from typing import Any

import orjson

MOST_SHOWN_CHARACTERS = 32_768
_MOST_DUMPED_BYTES = 4_096
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


def payload_view(payload: bytes) -> dict[str, Any]:
    """Return what the page shows of a payload.

    Returns:
        `kind` (`empty`, `json`, `text` or `binary`), `bytes`, and the texts there are for it: `json` (indented, with
        every number and escape as it was sent), `text`, `hex`. `is_cut` when they are not all of it.
    """
    view: dict[str, Any] = {"kind": "empty", "bytes": len(payload), "is_cut": False}
    if not payload:
        return view
    text = _text(payload)
    if text is None:
        view.update(kind="binary", is_cut=len(payload) > _MOST_DUMPED_BYTES, hex=hex_dump(payload[:_MOST_DUMPED_BYTES]))
        return view
    view.update(kind="text", text=text[:MOST_SHOWN_CHARACTERS], is_cut=len(text) > MOST_SHOWN_CHARACTERS)
    if _is_json(payload):
        shown = indented(text, most=MOST_SHOWN_CHARACTERS)
        view.update(kind="json", json=shown, is_cut=view["is_cut"] or len(shown) >= MOST_SHOWN_CHARACTERS)
    view["hex"] = hex_dump(payload[:_MOST_DUMPED_BYTES])
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


def _text(payload: bytes) -> str | None:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.search(text) else text


def _is_json(payload: bytes) -> bool:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True
