"""A letter as people see it, at a terminal as in a browser."""

import codecs
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic_core import from_json

from routemq.dead_letters.census import LetterGroup
from routemq.dead_letters.json_pieces import indented
from routemq.dead_letters.letter import DeadLetter
from routemq.envelope import FailedAttempt, PastReplay

MOST_SHOWN_CHARACTERS = 32_768
MOST_DUMPED_BYTES = 4_096
_MOST_READ_BYTES = 131_072
"""Enough for so many characters; whether a longer payload is JSON, its beginning must tell."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadView:
    """What can be shown of a payload; only its beginning is looked at.

    Attributes:
        kind: What it is; text with control characters is binary.
        size_bytes: How long it is as a whole.
        is_cut: Whether there is more than is shown.
        text: Its beginning, of JSON and text; `None` of what is no UTF-8.
        json: The same indented, every piece of it as it was written.
        hex: A dump of its beginning.
    """

    kind: Literal["empty", "json", "text", "binary"]
    size_bytes: int
    is_cut: bool = False
    text: str | None = None
    json: str | None = None
    hex: str | None = None

    @classmethod
    def of(cls, payload: bytes, *, size_bytes: int | None = None) -> Self:
        """Look at a payload.

        Args:
            payload: All of it, or its beginning.
            size_bytes: How many bytes it has in all, when these are not all.
        """
        total = len(payload) if size_bytes is None else size_bytes
        head = payload[:_MOST_READ_BYTES]
        if not head:
            return cls(kind="empty", size_bytes=total, is_cut=bool(total))
        is_whole = len(head) == total
        dump = hex_dump(head[:MOST_DUMPED_BYTES])
        text = _text(head, is_whole=is_whole)
        if text is None or _CONTROLS.search(text):
            text = None if text is None else text[:MOST_SHOWN_CHARACTERS]
            return cls(kind="binary", size_bytes=total, is_cut=total > MOST_DUMPED_BYTES, text=text, hex=dump)
        shown = indented(text, most=MOST_SHOWN_CHARACTERS) if _is_json(text, is_whole=is_whole) else None
        is_cut = not is_whole or len(text) > MOST_SHOWN_CHARACTERS or len(shown or "") >= MOST_SHOWN_CHARACTERS
        return cls(
            kind="text" if shown is None else "json",
            size_bytes=total,
            is_cut=is_cut,
            text=text[:MOST_SHOWN_CHARACTERS],
            json=shown,
            hex=dump,
        )

    def as_object(self) -> dict[str, Any]:
        """Return it for JSON, without what there is not."""
        texts = {"text": self.text if self.kind != "binary" else None, "json": self.json, "hex": self.hex}
        shown = {name: text for name, text in texts.items() if text is not None}
        return {"kind": self.kind, "bytes": self.size_bytes, "is_cut": self.is_cut, **shown}


def indented_json(text: str) -> str | None:
    """Return JSON with a line for each value, every piece as it was written; None for anything else."""
    return indented(text, most=sys.maxsize) if _is_json(text, is_whole=True) else None


def hex_dump(data: bytes) -> str:
    """Return lines of offset, sixteen bytes, and their ASCII, as `hexdump -C` would."""
    lines = []
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{offset:08x}  {row[:8].hex(' '):23}  {row[8:].hex(' '):23}  {readable}")
    return "\n".join(lines)


def letter_object(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter for JSON, as a listing has it."""
    return {
        "id": letter.id,
        "route": letter.route,
        "queue": letter.queue,
        "reason": letter.reason,
        "topic": letter.topic,
        "exception": letter.exception,
        "message": letter.message,
        "fingerprint": letter.fingerprint,
        "attempts": letter.attempts,
        "generation": letter.generation,
        "first_at": letter.first_at,
        "died_at": letter.died_at,
        "worker": letter.worker,
        "payload_bytes": letter.payload_bytes,
        "redacted": list(letter.redacted),
        "release": letter.release,
    }


def attempt_object(attempt: FailedAttempt) -> dict[str, Any]:
    """Return a failed run for JSON."""
    return {"at": attempt.at, "error": attempt.error, "worker": attempt.worker}


def replay_object(replay: PastReplay) -> dict[str, Any]:
    """Return a replay of a message for JSON, with the error that it had died of."""
    return {"at": replay.at, "by": replay.by, "error": replay.error}


def group_object(group: LetterGroup) -> dict[str, Any]:
    """Return letters that have one thing in common for JSON."""
    return {"name": group.name, "count": group.count, "oldest_at": group.oldest_at, "newest_at": group.newest_at}


def _text(head: bytes, *, is_whole: bool) -> str | None:
    try:
        # The last character of a beginning may be cut.
        return codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
    except UnicodeDecodeError:
        return None


def _is_json(head: str, *, is_whole: bool) -> bool:
    try:
        from_json(head, allow_inf_nan=False, allow_partial="off" if is_whole else "trailing-strings")
    except ValueError:
        return False
    return True
