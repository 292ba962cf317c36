"""The beginning of a dead letter that is too large to be read as a whole by whoever only looks."""

import base64
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from routemq.dead_letters.letter import DeadLetter
from routemq.envelope import body_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekedLetter:
    """A dead letter with the beginning of its payload.

    Attributes:
        letter: Its description, with the traceback.
        payload: The beginning of the payload, or of all bytes when they are no message.
        bytes: How long that is as a whole; an estimate from above where the letter does not say.
        problem: Why the bytes are no message.
    """

    letter: DeadLetter
    payload: bytes
    bytes: int
    problem: str | None = None


def peeked(letter: DeadLetter, head: bytes, *, raw_bytes: int) -> PeekedLetter:
    """Return the letter with what the first bytes of its message, as it lay on its queue, have of the payload."""
    try:
        ((argument, *_), *_) = _begun(body_of(_begun(head)["body"]))
        payload = argument["payload"].encode() if "payload" in argument else _decoded(argument["payload_base64"])
    # Other Celery clients write other bodies, and what lies there may be anything.
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        problem = f"its beginning is no RouteMQ message ({type(exc).__name__})"
        return PeekedLetter(letter=letter, payload=head, bytes=raw_bytes, problem=problem)
    size = raw_bytes if letter.payload_bytes is None else letter.payload_bytes
    return PeekedLetter(letter=letter, payload=payload, bytes=size)


def _begun(text: bytes | str) -> Any:
    return from_json(text, allow_partial="trailing-strings")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text[: len(text) // 4 * 4], validate=True)
