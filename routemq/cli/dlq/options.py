"""Options that the commands share, and how their values are read."""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from routemq.dead_letters import REASONS, LetterFilter, LetterFilterError
from routemq.dead_letters.times import TimeError, read_duration
from routemq.errors import TopicTemplateError

F = TypeVar("F", bound=Callable[..., Any])

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min|m|h))?")
_RATE_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600}


# Generic since click 8.4; Celery is content with 8.3.
class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90s`, `15m`, `2h`, `14d`, `2w`; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return read_duration(str(value))
        except TimeError as exc:
            self.fail(str(exc), param, ctx)


class Rate(click.ParamType):  # type: ignore[type-arg]
    """`200/s`, `30/min`, `200`; messages a second."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _RATE.fullmatch(str(value).strip().lower())
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no rate: write 200/s, 30/min or 1000/h", param, ctx)
        return float(found[1]) / _RATE_UNITS_S[found[2] or "s"]


_FILTERS = (
    click.option("--route", help="Name of the route, as `routemq routes` shows it."),
    click.option("--queue", help="Queue they came from."),
    click.option("--reason", type=click.Choice(REASONS), help="Why they were given up."),
    click.option("--error", help="Fingerprint, as `dlq stats` shows it, or words of the error."),
    click.option("--topic", help="MQTT topic filter, such as sensors/+/data, or '~part' of the topic."),
    click.option("--device", help="A level of the topic, such as d17."),
    click.option("--since", help="Died after: 2h (ago), 2026-09-30T14:00 (in UTC), Unix seconds."),
    click.option("--until", help="Died before; written likewise."),
    click.option("--contains", metavar="WORDS", help="Words of the payload, in either case."),
)


def filter_options(command: F) -> F:
    """Give a command the options that `wanted` reads."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def wanted(options: Mapping[str, Any], *, now: float) -> LetterFilter:
    """Return the filter of a command's options.

    Raises:
        click.BadParameter: A value is empty, or cannot be read.
    """
    try:
        return LetterFilter.of({name: value for name, value in options.items() if value is not None}, now=now)
    except LetterFilterError as exc:
        raise click.BadParameter(str(exc), param_hint=f"--{exc.name}") from exc
    except TopicTemplateError as exc:
        raise click.BadParameter(str(exc), param_hint="--topic") from exc


def as_options(filters: LetterFilter) -> str:
    """Return how a filter is typed."""
    parts = (f"--{name} {shlex.quote(str(value))}" for name, value in filters.criteria().items())
    return " ".join(parts)
