"""What every command of `routemq dlq` begins and ends with."""

import getpass
import socket
import sys
from typing import NoReturn

import click

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters, LetterFilter
from routemq.dead_letters.known_names import UnknownName
from routemq.settings import load_settings
from routemq.text import printable

NOTHING_MATCHES = 3
CANARIES_DIED = 4
INTERRUPTED = 130


def open_store() -> DeadLetters:
    """Return the store of the settings.

    Raises:
        ConfigurationError: A setting cannot be used.
    """
    settings = load_settings()
    client = connect_redis(settings, timeout_s=30.0)
    click.get_current_context().call_on_close(client.close)
    return DeadLetters.of(settings, client, buries=False)


def actor() -> str:
    """Return who asks, for the audit."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A container may run as a user that has no name.
        user = "?"
    # It is told by the environment, which may hold any bytes, and what is kept of it is text.
    return printable(f"{user}@{socket.gethostname()}")


def say(text: str) -> None:
    """Tell the person something that is no output."""
    click.echo(text, err=True)


def nothing_matches(store: DeadLetters, filters: LetterFilter) -> NoReturn:
    """End because there is nothing to do."""
    say_none(store, filters)
    sys.exit(NOTHING_MATCHES)


def say_none(store: DeadLetters, filters: LetterFilter) -> None:
    """Say that no letter matches; of a route or a queue that has never had any, which have."""
    say("There are no dead letters." if filters.is_empty else f"No dead letter matches {filters}.")
    if (unknown := UnknownName.of(store, filters)) is not None:
        say(printable(str(unknown)))
