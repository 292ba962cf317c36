"""What an operator reads when a command fails: one line, not a traceback."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click
import redis

from routemq.errors import ConfigurationError, RouteMQError
from routemq.refusals import code_of, explain
from routemq.text import error_text, printable

P = ParamSpec("P")
R = TypeVar("R")


def explains_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn this project's errors, and an absent Redis, into click's: exit code 1, and 2 for a bad setting."""

    @functools.wraps(command)
    def explained(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigurationError as exc:
            raise click.UsageError(_told(exc)) from exc
        except RouteMQError as exc:
            raise click.ClickException(_told(exc)) from exc
        except UnicodeEncodeError as exc:
            # A terminal that cannot show a text is another thing.
            if exc.encoding != "utf-8":
                raise
            raise click.ClickException(f"{printable(exc.object[:200])} is not UTF-8 text") from exc
        except redis.RedisError as exc:
            told = explain(exc)
            if not code_of(exc):
                told = f"Redis cannot be reached; check REDIS_URL and that it runs: {told}"
            raise click.ClickException(told) from exc

    return explained


def _told(error: Exception) -> str:
    return printable(error_text(error), lines=True)
