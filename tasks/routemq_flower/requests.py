"""What a request asks for: filters and numbers, each refused with a word that says what is allowed."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from routemq.dead_letters import LetterFilter, LetterFilterError
from routemq.errors import RouteMQError, TopicTemplateError

W = TypeVar("W", bound=str)

_MOST_CHOSEN = 10_000
_LONGEST_TEXT = 1000
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")


class BadRequestError(RouteMQError):
    """A request has a value that cannot be used."""

    def __init__(self, *, name: str, value: object, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        shown = str(value)
        super().__init__(f"{name}={shown[:100]}{'…' if len(shown) > 100 else ''} cannot be used: {allowed}")


class FilterFieldError(RouteMQError):
    """A criterion of a filter cannot be used.

    Attributes:
        field: Which.
    """

    def __init__(self, *, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


def letter_filter(values: Mapping[str, object]) -> LetterFilter:
    """Read a filter.

    Raises:
        FilterFieldError: A name is unknown, or a value cannot be used.
    """
    try:
        return LetterFilter.of(values, now=time.time())
    except LetterFilterError as exc:
        raise FilterFieldError(field=exc.name, problem=str(exc)) from exc
    except TopicTemplateError as exc:
        raise FilterFieldError(field="topic", problem=str(exc)) from exc


def chosen_ids(values: object) -> list[str]:
    """Read a list of letter ids, each of them once.

    Raises:
        BadRequestError: It is no such list, or too long or empty.
    """
    if not isinstance(values, list) or not values or not all(isinstance(value, str) and value for value in values):
        raise BadRequestError(name="ids", value=values, allowed="a list of ids, with one at least")
    if len(values) > _MOST_CHOSEN:
        raise BadRequestError(name="ids", value=f"({len(values)} ids)", allowed=f"at most {_MOST_CHOSEN}")
    return list(dict.fromkeys(values))


def one_of(name: str, text: str, choices: Sequence[W]) -> W:
    """Return the word that a request says.

    Raises:
        BadRequestError: It is none of these.
    """
    for choice in choices:
        if text == choice:
            return choice
    raise BadRequestError(name=name, value=text, allowed=" or ".join(choices))


def whole_number(name: str, text: str | None, *, default: int, most: int) -> int:
    """Return a number from 1, written in ASCII digits; the default when it was not asked for.

    Raises:
        BadRequestError: It is none, or too large.
    """
    if text is None:
        return default
    if not _WHOLE_NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadRequestError(name=name, value=text, allowed=f"a whole number from 1 to {most}")
    return int(text)


def unix_seconds(name: str, text: str) -> float:
    """Return a time, as the API itself writes it.

    Raises:
        BadRequestError: It is none.
    """
    if not _SECONDS.fullmatch(text):
        raise BadRequestError(name=name, value=text, allowed="Unix seconds")
    return float(text)


def only(given: Mapping[str, Sequence[object]], known: Iterable[str]) -> None:
    """Refuse a query with a name that is not known, or that is there twice, of which one would not be heard.

    Spelled wrongly, it would leave an answer for more than was meant.

    Raises:
        BadRequestError: Names it.
    """
    if unknown := sorted(set(given) - {*known, "_xsrf"}):
        raise BadRequestError(name="query", value=", ".join(unknown), allowed=f"any of {', '.join(known)}")
    if twice := sorted(name for name, values in given.items() if len(values) > 1):
        raise BadRequestError(name="query", value=", ".join(twice), allowed="each name once")


def only_text(body: Mapping[str, object], *, required: str, optional: str = "") -> None:
    """Refuse a body that has anything else than these texts.

    Raises:
        BadRequestError: Says what is allowed.
    """
    known = {required, optional} - {""}
    texts = all(isinstance(value, str) and len(value) <= _LONGEST_TEXT for value in body.values())
    if required not in body or set(body) - known or not texts:
        shown = ", ".join(sorted(map(str, body)))
        raise BadRequestError(name="body", value=shown, allowed=f"texts: {', '.join(sorted(known))}")


def json_object(body: bytes) -> dict[str, Any]:
    """Return the object of a request's body; an empty one for an empty body.

    Raises:
        BadRequestError: It is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequestError(name="body", value=f"({len(body)} bytes)", allowed=f"a JSON object ({exc})") from exc
    if not isinstance(found, dict):
        raise BadRequestError(name="body", value=f"({len(body)} bytes)", allowed="a JSON object")
    return found
