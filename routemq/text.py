"""Text that came with a message, or from a user's exception, made harmless before anybody reads it."""

import unicodedata
from collections.abc import Callable

from routemq.interruptions import is_interruption

_LINE_LENGTH = 500
_LOOKED_AT = 20 * _LINE_LENGTH


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with every character written out (`\x1b`, `\u202e`) that would act rather than be read.

    These are the control characters, which move a terminal's cursor or forge a line of a log; the marks that turn the
    direction of what follows; line separators; and halves of a surrogate pair, which no file and no server takes.

    Args:
        lines: Leave line feeds and tabs as they are.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_read(char) or (lines and char in "\n\t") else _written_out(char) for char in text)


def stored_text(data: bytes) -> str:
    """Return a text that Redis keeps; what is no UTF-8 in it, which anybody may have written, is replaced."""
    return data.decode("utf-8", "replace")


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a number of things in words: `1 letter`, `1,200 letters`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def error_name(error: BaseException) -> str:
    """Return the exception's class, with its module when that is not `builtins`."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_text(error: BaseException) -> str:
    """Return an exception's own text as it is, whatever its methods do."""
    try:
        # A subclass of `str` may come back, and with it more of the user's methods.
        return str.__str__(str(error))
    # The text is the user's code.
    except BaseException as exc:
        if is_interruption(exc):
            raise
        return f"(its text cannot be made: {type(exc).__name__})"


def error_line(error: BaseException, *, hide: Callable[[str], str] = str) -> str:
    """Return `ClassName: text` in one printable line, shortened.

    Args:
        hide: Takes out of the text what must not be shown.
    """
    # Cut before each character is looked at: an error may quote a page, or a whole file.
    text = printable(" ".join(hide(error_text(error))[:_LOOKED_AT].split()))
    line = printable(type(error).__name__) + (f": {text}" if text else "")
    return line if len(line) <= _LINE_LENGTH else line[: _LINE_LENGTH - 1] + "…"


def _is_read(char: str) -> bool:
    # Of spaces, Python calls only the plain one printable.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _written_out(char: str) -> str:
    return char.encode("unicode_escape").decode()
