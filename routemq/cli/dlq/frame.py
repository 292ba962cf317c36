"""What every command of `routemq dlq` begins and ends with."""

import getpass
import socket
import sys
from typing import NoReturn

import click

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters, LetterFilter
from routemq.settings import load_settings

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
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        # A container may run as a user that has no name.
        return f"?@{socket.gethostname()}"


def say(text: str) -> None:
    """Tell the person something that is no output."""
    click.echo(text, err=True)


def nothing_matches(filters: LetterFilter) -> NoReturn:
    """End because there is nothing to do."""
    say("There are no dead letters." if filters.is_empty else f"No dead letter matches {filters}.")
    sys.exit(NOTHING_MATCHES)
