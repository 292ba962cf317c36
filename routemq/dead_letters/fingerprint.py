"""What is kept of an exception, and the fingerprint that is the same for the same mistake."""

import hashlib
import re
import traceback
from dataclasses import dataclass
from pathlib import PurePath
from types import TracebackType

from routemq.text import error_name, error_text

_NAME_LENGTH = 200
_MESSAGE_LENGTH = 2_000
_TRACEBACK_LENGTH = 8_000
_MOST_FRAMES = 20
_RAISING_FRAMES = 3
_MOST_CHAINED = 5
_WORD = re.compile(r"[\w.:+-]+")
_DIGIT = re.compile(r"\d")
_PLACE = re.compile(r'^  File "(.*)", line \d+, in (.*)$', re.MULTILINE)
CAUSED_BY = "\nCaused by "
"""Stands between the frames of an exception and those of what caused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDescription:
    """An exception as text.

    Attributes:
        exception: Class, with its module when that is not `builtins`.
        message: The exception's own text, shortened.
        traceback: The innermost frames and those of its causes, without the message itself; empty when it has none.
        fingerprint: 12 hexadecimal digits of the class, the raising frames and the message without numbers and ids.
    """

    exception: str
    message: str
    traceback: str
    fingerprint: str

    @classmethod
    def of(cls, error: BaseException) -> "ErrorDescription":
        """Describe an exception, whatever its text does."""
        name = shortened(error_name(error), _NAME_LENGTH)
        message = shortened(error_text(error), _MESSAGE_LENGTH)
        frames = shortened(_traceback_text(error), _TRACEBACK_LENGTH)
        return cls(exception=name, message=message, traceback=frames, fingerprint=fingerprint_of(name, message, frames))

    @classmethod
    def of_line(cls, line: str) -> "ErrorDescription":
        """Take a line as `error_line` makes it, when the exception itself cannot be looked at."""
        name, _, message = line.partition(": ")
        return cls(exception=name, message=message, traceback="", fingerprint=fingerprint_of(name, message, ""))


def fingerprint_of(exception: str, message: str, frames: str) -> str:
    """Return 12 hexadecimal digits that are the same for the same mistake.

    Args:
        exception: Its class.
        message: Its text.
        frames: Its traceback, and perhaps that of its causes.
    """
    places = _PLACE.findall(frames.partition(CAUSED_BY)[0])[-_RAISING_FRAMES:]
    where = [f"{PurePath(file).name}:{function}" for file, function in places]
    # A word with a digit is a number, an id, an address or a time.
    blanked = _WORD.sub(lambda word: "#" if _DIGIT.search(word[0]) else word[0], message)
    digest = hashlib.sha1("\n".join([exception, *where, blanked]).encode("utf-8", "replace"), usedforsecurity=False)
    return digest.hexdigest()[:12]


def shortened(text: str, length: int) -> str:
    """Return the text as valid UTF-8 with its middle cut out when it is longer than this."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= length:
        return text
    half = (length - 5) // 2
    return f"{text[:half]} … {text[-half:]}"


def _traceback_text(error: BaseException) -> str:
    # Without the outermost exception's message, so that letters of one mistake share one text in Redis.
    parts = [_frames_text(error.__traceback__)]
    seen = {id(error)}
    current = error
    while len(seen) <= _MOST_CHAINED:
        following = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if following is None or id(following) in seen:
            break
        seen.add(id(following))
        current = following
        parts.append(
            f"{error_name(current)}: {shortened(error_text(current), 500)}\n{_frames_text(current.__traceback__)}"
        )
    return CAUSED_BY.join(parts).strip("\n")


def _frames_text(frames: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_tb(frames, limit=-_MOST_FRAMES))
    except Exception as exc:  # noqa: BLE001  source lines come from wherever the user's loader finds them
        return f"(its frames cannot be shown: {type(exc).__name__})"
