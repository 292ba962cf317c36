"""What a request asks for: filters and numbers, each refused with a word that says what is allowed."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from routemq.dead_letters import REASONS
from routemq.dead_letters.filters import LetterFilter
from routemq.errors import RouteMQError

FILTER_NAMES = ("route", "queue", "reason", "error", "topic", "device", "since", "until", "contains")

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class BadRequestError(RouteMQError):
    """A request has a value that cannot be used."""

    def __init__(self, *, name: str, value: object, allowed: str) -> None:
        self.name, self.value, self.allowed = name, value, allowed
        shown = str(value)
        super().__init__(f"{name}={shown[:100]}{'…' if len(shown) > 100 else ''} cannot be used: {allowed}")


def letter_filter(values: Mapping[str, object]) -> LetterFilter:
    """Read a filter; what is missing or empty stands for anything.

    Raises:
        BadRequestError: A value cannot be used.
        TopicTemplateError: `topic` is no topic filter.
    """
    texts = {name: str(values[name]).strip() for name in FILTER_NAMES if values.get(name) not in (None, "")}
    reason = texts.get("reason")
    if reason is not None and reason not in REASONS:
        raise BadRequestError(name="reason", value=reason, allowed=f"one of {', '.join(REASONS)}")
    return LetterFilter(
        route=texts.get("route"),
        queue=texts.get("queue"),
        reason=reason,
        error=texts.get("error"),
        topic=texts.get("topic"),
        device=texts.get("device"),
        since=moment("since", texts["since"]) if "since" in texts else None,
        until=moment("until", texts["until"]) if "until" in texts else None,
        contains=texts.get("contains"),
    )


def moment(name: str, text: str) -> float:
    """Return Unix seconds for an age (`15m`, `2h`, `14d`), a date in ISO 8601 (UTC without an offset), or Unix seconds.

    Raises:
        BadRequestError: It is none of these.
    """
    if age := _AGE.fullmatch(text):
        return time.time() - float(age[1]) * _UNIT_S[age[2]]
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as exc:
            raise BadRequestError(
                name=name, value=text, allowed="an age such as 15m, 2h or 14d, a date in ISO 8601, or Unix seconds"
            ) from exc
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < 1e11:
        raise BadRequestError(name=name, value=text, allowed="Unix seconds of this era")
    return seconds


def whole_number(name: str, text: str | None, *, default: int, most: int) -> int:
    """Return a number from 1.

    Raises:
        BadRequestError: It is none, or too large.
    """
    if text is None or not text.strip():
        return default
    if not text.strip().isdecimal() or not 1 <= int(text[:10]) <= most:
        raise BadRequestError(name=name, value=text, allowed=f"a whole number from 1 to {most}")
    return int(text)


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
