"""Celery's and kombu's objects, with public names for what they keep to themselves."""

from typing import Any

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.worker.consumer import Consumer
from routemq_transport.starting_request import StartingRequest


class OpenConsumer(Consumer):
    """A consumer that sends its events when it is told to."""

    def flush_events(self) -> None:
        """Send the events that wait for their batch."""
        self._flush_events()


class OpenRequest(StartingRequest):
    """A request that tells what a subclass has to know."""

    @property
    def is_ended_by_command(self) -> bool:
        """Whether an operator has ended it."""
        return bool(self._already_cancelled or self._already_revoked)

    @property
    def context(self) -> Any:
        """What Celery's signals are told of the request."""
        return self._context

    def on_revoked(self) -> None:
        """An operator has revoked it; Celery acknowledges it next."""

    def _announce_revoked(self, *args: Any, **options: Any) -> None:
        self.on_revoked()
        super()._announce_revoked(*args, **options)


def raw_of(message: Any) -> dict[str, Any]:
    """Return the list item as it was decoded, with what neither kombu nor Celery knows of."""
    raw: dict[str, Any] = message._raw  # noqa: SLF001
    return raw


def leave_body(message: Any, body: object) -> None:
    """Let this be the decoded body, for which Celery asks at several places."""
    message._decoded_cache = body  # noqa: SLF001


def pool_children(pool: Any) -> tuple[int, ...]:
    """Return the process ids of a prefork pool's children that are alive; other pools have none."""
    if not isinstance(pool, PreforkPool) or pool._pool is None:  # noqa: SLF001
        return ()
    return tuple(child.pid for child in list(pool._pool._pool) if child.pid and child.exitcode is None)  # noqa: SLF001
