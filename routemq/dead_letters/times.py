"""Moments as people write and read them: in UTC, wherever the process runs and whoever asks."""

import re
from datetime import UTC, datetime

from routemq.errors import RouteMQError

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_FIRST, _LAST = 1e9, 1e11
"""Unix seconds of 2001 and of 5138: less is a date without its dashes or a slip, more is milliseconds."""


class TimeError(RouteMQError):
    """A text is no moment, or no length of time."""

    def __init__(self, *, text: str, allowed: str) -> None:
        self.text, self.allowed = text, allowed
        shown = text if len(text) <= 60 else text[:59] + "…"
        super().__init__(f"{shown!r} cannot be read: write {allowed}")


def moment(at: float) -> str:
    """Return Unix seconds as a date and a time of day in UTC, as `read_moment` reads it."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        # A message of another sender may have any number for the time of its failures.
        return str(at)


def read_duration(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `2h`, `14d` or `2w`.

    Raises:
        TimeError: It is none of these.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise TimeError(text=text, allowed="90s, 15m, 2h, 14d or 2w")
    return float(found[1]) * _UNITS_S[found[2]]


def read_moment(text: str, *, now: float) -> float:
    """Return the Unix seconds of a duration ago, an ISO date or time (UTC when it names no zone), or Unix seconds.

    Raises:
        TimeError: It is none of these.
    """
    written = text.strip()
    try:
        if _DURATION.fullmatch(written.lower()):
            return now - read_duration(written)
        if _NUMBER.fullmatch(written):
            seconds = float(written)
        else:
            at = datetime.fromisoformat(written)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = 0.0
    if not _FIRST <= seconds < _LAST:
        raise TimeError(text=text, allowed="2h (ago), 2026-09-30, 2026-09-30T14:00 (in UTC) or Unix seconds")
    return seconds
