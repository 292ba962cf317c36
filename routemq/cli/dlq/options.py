"""Options that the commands share, and how their values are read."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import click

from routemq.dead_letters import REASONS, LetterFilter
from routemq.errors import TopicTemplateError

F = TypeVar("F", bound=Callable[..., Any])

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min|m|h))?")


class Duration(click.ParamType[float]):
    """`90s`, `15m`, `2h`, `14d`, `2w`; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _DURATION.fullmatch(str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is no duration: write 90s, 15m, 2h, 14d or 2w", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that was typed: Unix seconds, or seconds before now."""

    value: float
    is_ago: bool

    def at(self, now: float) -> float:
        """Return Unix seconds."""
        return now - self.value if self.is_ago else self.value


class MomentType(click.ParamType[Moment]):
    """A duration ago, an ISO date or time in local time, or Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        if isinstance(value, Moment):
            return value
        text = str(value).strip()
        found = _DURATION.fullmatch(text.lower())
        if found is not None:
            return Moment(float(found[1]) * _UNITS_S[found[2]], is_ago=True)
        try:
            return Moment(float(text), is_ago=False)
        except ValueError:
            pass
        try:
            return Moment(datetime.fromisoformat(text).astimezone().timestamp(), is_ago=False)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2h (ago), 2026-09-30, 2026-09-30T14:00 or Unix seconds", param, ctx)


class Rate(click.ParamType[float]):
    """`200/s`, `30/min`, `200`; messages a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _RATE.fullmatch(str(value).strip().lower())
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no rate: write 200/s, 30/min or 1000/h", param, ctx)
        return float(found[1]) / _UNITS_S[found[2] or "s"]


_FILTERS = (
    click.option("--route", help="Name of the route, as `routemq routes` shows it."),
    click.option("--queue", help="Queue they came from."),
    click.option("--reason", type=click.Choice(REASONS), help="Why they were given up."),
    click.option("--error", help="Fingerprint, as `dlq stats` shows it, or words of the error."),
    click.option("--topic", help="MQTT topic filter, such as sensors/+/data."),
    click.option("--device", help="A level of the topic, such as d17."),
    click.option("--since", type=MomentType(), help="Died after: 2h (ago), 2026-09-30T14:00, Unix seconds."),
    click.option("--until", type=MomentType(), help="Died before; written likewise."),
    click.option("--contains", metavar="WORDS", help="Words of the payload, in either case."),
)


def filter_options(command: F) -> F:
    """Give a command the options that `wanted` reads."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def wanted(options: dict[str, Any], *, now: float) -> LetterFilter:
    """Return the filter of a command's options.

    Raises:
        click.BadParameter: The topic is no topic filter.
    """
    values = dict(options)
    for name in ("since", "until"):
        if values[name] is not None:
            values[name] = values[name].at(now)
    try:
        return LetterFilter(**values)
    except TopicTemplateError as exc:
        raise click.BadParameter(str(exc), param_hint="--topic") from exc


def as_options(filters: LetterFilter) -> str:
    """Return how a filter is typed."""
    parts = (f"--{name} {shlex.quote(str(value))}" for name, value in filters.criteria().items())
    return " ".join(parts)
