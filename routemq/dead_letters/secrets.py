"""Values that must not be shown, and texts without them."""

import base64
import contextlib
import functools
import html
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote_plus

REDACTED = "[redacted]"

_PIECE = 4
"""So many characters of a value in a row are taken for a part of it: a text may have shortened or escaped the rest."""

_MOST_CHARACTERS = 8_192
_MOST_READINGS = 12
_WORDS = ("true", "false")
_CLASS = re.compile(r"[\w.]+")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){4,}")
_URL_SAFE = str.maketrans("+/", "-_")


def fold(text: str) -> str:
    """Return the letters and digits alone, in one case and width: what is left of a text however it is written."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


@dataclass(frozen=True, slots=True)
class Secrets:
    """What was taken out of a message.

    Attributes:
        values: The values, as the message had them.
        texts: Longer ones in which a value may stand.
        are_unknown: The message could not be read, so anything may be one.
    """

    values: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    are_unknown: bool = False

    def __len__(self) -> int:
        return len(self.values) + len(self.texts)

    def __bool__(self) -> bool:
        return self.are_unknown or len(self) > 0

    def hide(self, text: str) -> str:
        """Return the text without the values; of a text that may still have a part of one, nothing."""
        if not text or not self:
            return text
        if self.are_unknown or sum(map(len, self.values | self.texts)) > _MOST_CHARACTERS:
            return REDACTED
        text = self.replaced(text)
        return REDACTED if self._are_left_in(text.replace(REDACTED, " ")) else text

    def hide_line(self, line: str) -> str:
        """Likewise of an error in one line, `ClassName: text`, whose class stays."""
        name, colon, text = line.partition(": ")
        return f"{self.replaced(name)}: {self.hide(text)}" if colon and _CLASS.fullmatch(name) else self.hide(line)

    def replaced(self, text: str) -> str:
        """Return the text with each value replaced that stands there whole."""
        for form in _traces(self).forms:
            text = text.replace(form, REDACTED)
        return text

    def in_other_texts(self) -> Callable[[str], bool]:
        """Return what says whether another text of the same message has one of the values as a whole."""
        known = self.values | self.texts
        wanted = [(value, fold(value)) for value in known if len(value) >= _PIECE and value not in _WORDS]
        around = [(text, fold(text)) for text in self.texts]

        def has_one(text: str) -> bool:
            plain = fold(text) if wanted else ""
            return any(value in text or (len(bare) >= _PIECE and bare in plain) for value, bare in wanted) or any(
                (len(text) >= _PIECE and text in longer) or (len(plain) >= _PIECE and plain in bare)
                for longer, bare in around
            )

        return has_one

    def _are_left_in(self, text: str) -> bool:
        traces, written = _traces(self), text.casefold()
        if not traces.pieces.isdisjoint(_pieces(written)) or not traces.pieces.isdisjoint(_pieces(fold(text))):
            return True
        return traces.short is not None and traces.short.search(written) is not None


@dataclass(frozen=True, slots=True)
class _Traces:
    """What of some values a text may have.

    Attributes:
        forms: In every notation, the longest first.
        pieces: Parts of these.
        short: Finds those that are too short to have parts, as words of their own.
    """

    forms: Sequence[str]
    pieces: frozenset[str]
    short: re.Pattern[str] | None


@functools.lru_cache(maxsize=4)
def _traces(secrets: Secrets) -> _Traces:
    forms = {form for value in secrets.values | secrets.texts for form in _forms(value)}
    written = {form.casefold() for form in forms}
    short = sorted(form for form in written if 0 < len(form) < _PIECE)
    return _Traces(
        forms=sorted((form for form in forms if len(form) >= _PIECE), key=len, reverse=True),
        pieces=frozenset(piece for form in written | set(map(fold, forms)) for piece in _pieces(form)),
        short=re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, short))})(?![^\W_])") if short else None,
    )


def readings(text: str) -> list[str]:
    """Return a text, and what it says when it is escaped or encoded, also more than once."""
    found = list(dict.fromkeys((text, unicodedata.normalize("NFKC", text))))
    for reading in found:
        news = {unquote_plus(reading), html.unescape(reading), _ESCAPE.sub(_unescaped, reading), *_decoded(reading)}
        found += sorted(news.difference(found))[: _MOST_READINGS - len(found)]
    return found


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16))


def _decoded(text: str) -> Iterator[str]:
    coded = text.strip()
    data = b""
    if _HEX.fullmatch(coded):
        data = bytes.fromhex(coded)
    elif _BASE64.fullmatch(coded):
        bare = coded.translate(_URL_SAFE).rstrip("=")
        with contextlib.suppress(ValueError):
            data = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    if data:
        yield latin(data)
        yield data.decode(errors="ignore")


def latin(data: bytes) -> str:
    """Return bytes as a text in which words of most encodings can be found."""
    # Without the zeros that stand between the letters in UTF-16.
    return data.decode("latin-1").replace("\0", "")


def _pieces(text: str) -> Iterator[str]:
    return (text[first : first + _PIECE] for first in range(len(text) - _PIECE + 1))


def _forms(value: str) -> Collection[str]:
    """Return how a text may write a value: escaped as JSON, Python or an address would, or as another notation."""
    forms = {value}
    if len(value) >= _PIECE:
        data = value.encode("utf-8", "surrogatepass")
        forms |= {json.dumps(value)[1:-1], ascii(value)[1:-1], repr(value)[1:-1], repr(data)[2:-1]}
        forms |= {quote(data), quote_plus(data), data.hex()}
        # Three ways, by where the value begins; its first and last characters depend on what stands beside it.
        shifted = (base64.b64encode(b"\0" * shift + data).decode().rstrip("=")[2 * shift : -1] for shift in range(3))
        forms.update(form for form in shifted if len(form) >= _PIECE)
    try:
        number = float(value)
    except ValueError:
        return forms
    forms.add(repr(number))
    if number.is_integer():
        forms.add(str(int(number)))
    return forms
