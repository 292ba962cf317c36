"""What is kept of an exception, and the fingerprint that is the same for the same mistake."""

import hashlib
import re
import traceback
from collections.abc import Collection
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
_MOST_LINES = 3
_MOST_NESTED = 4
_PATTERN_LENGTH = 300
_LONGEST_WORD = 30
_QUOTED = re.compile(r"""(?<!\w)[bru]{0,2}(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|“[^”]*”|«[^»]*»)(?!\w)""")
_BRACKETED = re.compile(r"\{[^{}\[\]]*\}|\[[^{}\[\]]*\]")
_VALUE = re.compile(r"=[^\s,;)]+")
_WORD = re.compile(r"[\w.:+/@%#-]+")
_OF_DATA = re.compile(r"[\d/@%]")
_ROW = re.compile(r"#(?:[\s,;|]*#)+")
_PLACE = re.compile(r'^  File "(.*)", line \d+, in (.*)$', re.MULTILINE)
OTHER = "0" * 12
"""Stands for the fingerprints of a route that has very many."""

CAUSED_BY = "\nCaused by "
"""Stands between the frames of an exception and those of what caused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDescription:
    """An exception as text.

    Attributes:
        exception: Class, with its module when that is not `builtins`.
        message: The exception's own text, shortened.
        traceback: The innermost frames and those of its causes, without the message itself; empty when it has none.
        fingerprint: The same for the same mistake; see `fingerprint_of`.
    """

    exception: str
    message: str
    traceback: str
    fingerprint: str

    @classmethod
    def of(cls, error: BaseException, *, topic: str | None = None) -> "ErrorDescription":
        """Describe an exception, whatever its own methods do.

        Args:
            topic: Of the message that it is about.
        """
        name = shortened(error_name(error), _NAME_LENGTH)
        message = shortened(error_text(error), _MESSAGE_LENGTH)
        frames = shortened(_traceback_text(error), _TRACEBACK_LENGTH)
        fingerprint = fingerprint_of(name, message, frames, topic=topic)
        return cls(exception=name, message=message, traceback=frames, fingerprint=fingerprint)

    @classmethod
    def of_line(cls, line: str) -> "ErrorDescription":
        """Take a line as `error_line` makes it, when the exception itself cannot be looked at."""
        name, _, message = line.partition(": ")
        fingerprint = fingerprint_of(name, message, "", topic=None)
        return cls(exception=name, message=message, traceback="", fingerprint=fingerprint)


def fingerprint_of(exception: str, message: str, frames: str, *, topic: str | None) -> str:
    """Return 12 hexadecimal digits that are the same for the same mistake, whatever message it was about.

    Args:
        exception: Its class.
        message: Its text, of which only what is not about the message counts.
        frames: Its traceback, and perhaps that of its causes.
        topic: Of the message that it is about.
    """
    places = _PLACE.findall(frames.partition(CAUSED_BY)[0])[-_RAISING_FRAMES:]
    where = [f"{PurePath(file).name}:{function}" for file, function in places]
    words = "\n".join([exception, *where, pattern_of(message, topic)])
    return hashlib.sha1(words.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:12]


def pattern_of(message: str, topic: str | None) -> str:
    """Return the words of an error's text that its next occurrence will have too; `#` stands for the others.

    `device 'hall' at sensors/d17/data: 3 of [1, 2] failed (kitchen=4)` is `device # at #: # of # failed (kitchen=#)`.
    """
    # A validation error has a line or two for each field, and fields fail in any combination.
    text = "\n".join(message.split("\n", _MOST_LINES)[:_MOST_LINES])
    text = _QUOTED.sub("#", text)
    for _ in range(_MOST_NESTED):
        text = _BRACKETED.sub("#", text)
    levels = {level.casefold() for level in (topic or "").split("/")}
    text = _WORD.sub(lambda word: "#" if _is_about_a_message(word[0], levels) else word[0], _VALUE.sub("=#", text))
    return _ROW.sub("#", text)[:_PATTERN_LENGTH]


def _is_about_a_message(word: str, levels: Collection[str]) -> bool:
    bare = word.strip(".:-+")
    return _OF_DATA.search(bare) is not None or len(bare) > _LONGEST_WORD or bare.casefold() in levels


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
