"""What an eye does not see in a payload, and a parser trips over."""

import unicodedata

_MARKS = (
    (b"\xef\xbb\xbf", "it begins with a byte order mark, EF BB BF"),
    (b"\xff\xfe\x00\x00", "it begins with FF FE 00 00, as UTF-32 does"),
    (b"\x00\x00\xfe\xff", "it begins with 00 00 FE FF, as UTF-32 does"),
    (b"\xff\xfe", "it begins with FF FE, as UTF-16 does"),
    (b"\xfe\xff", "it begins with FE FF, as UTF-16 does"),
    (b"\x1f\x8b", "it begins with 1F 8B, as gzip does"),
)


def with_unseen(problem: str, payload: bytes) -> str:
    """Return why a payload could not be read, with what nobody sees in it."""
    words = unseen(payload)
    return problem if words is None else f"{problem}; {words}"


def unseen(payload: bytes) -> str | None:
    """Return what is in a payload and is not seen; None when all is seen."""
    for mark, words in _MARKS:
        if payload.startswith(mark):
            return words
    if not payload:
        return "it is empty"
    if b"\0" in payload:
        if not payload.rstrip(b"\0").count(0):
            return "it ends with a NUL byte"
        return "it has NUL bytes in it, as UTF-16 without a byte order mark has"
    if not payload.strip():
        return "it is white space alone"
    # Cut by bytes: what is at the end of a megabyte is told without reading it.
    ends = (
        ("begins", payload[:4].decode("utf-8", "ignore")[:1]),
        ("ends", payload[-4:].decode("utf-8", "ignore")[-1:]),
    )
    found = [
        f"it {verb} with {_name(mark)}" for verb, mark in ends if mark and (mark.isspace() or not mark.isprintable())
    ]
    return " and ".join(found) or None


def _name(character: str) -> str:
    known = {" ": "a blank", "\n": "a line feed", "\r": "a carriage return", "\t": "a tab"}
    name = unicodedata.name(character, "a control character")
    return known.get(character, f"U+{ord(character):04X} ({name})")
