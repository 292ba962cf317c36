"""Celery's and kombu's objects, with public names for what they keep to themselves."""

# ruff: noqa: SLF001  a request that is made in fewer steps is filled from here

from collections.abc import Callable
from typing import Any, Self
from weakref import ref

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.worker.consumer import Consumer
from routemq_transport.starting_request import StartingRequest
from routemq_transport.upstream.quick_message import QuickMessage


class OpenConsumer(Consumer):
    """A consumer that sends its events when it is told to, and that tells what a subclass has to know."""

    @property
    def counts_acknowledgements(self) -> bool:
        """Whether Celery takes fewer messages in hand since a connection was lost, and more with each that is done."""
        return not self._maximum_prefetch_restored

    def flush_events(self) -> None:
        """Send the events that wait for their batch."""
        self._flush_events()


class OpenRequest(StartingRequest):
    """A request that tells what a subclass has to know, and can be made in fewer steps."""

    @classmethod
    def of_checked(
        cls,
        message: Any,
        *,
        on_ack: Any,
        on_reject: Any,
        app: Any,
        hostname: str,
        eventer: Any,
        task: Any,
        connection_errors: Any,
    ) -> Self:
        """Make one of a message with the headers of a route, and no time in them.

        Celery converts and copies what was checked and made for it alone already.

        Args:
            message: Its headers become the request's.
        """
        request = cls.__new__(cls)
        headers, properties, information = message.headers, message.properties, message.delivery_info
        request._message, request._app, request._task = message, app, task
        request._on_ack, request._on_reject = on_ack, on_reject
        request._hostname, request._eventer, request._connection_errors = hostname, eventer, connection_errors
        request._body = message.payload
        request._args, request._kwargs, _ = request._body
        request._decoded = request._utc = True
        request._content_type = request._content_encoding = request._eta = request._expires = None
        request.id = headers["id"]
        request._type = request.name = headers["task"]
        request._root_id, request._parent_id = headers["root_id"], headers["parent_id"]
        request._argsrepr, request._kwargsrepr = headers["argsrepr"], headers["kwargsrepr"]
        request._ignore_result = headers["ignore_result"]
        request.time_limits = headers["timelimit"]
        request._delivery_info = {
            "exchange": information.get("exchange"),
            "routing_key": information.get("routing_key"),
            "priority": properties.get("priority"),
            "redelivered": information.get("redelivered", False),
        }
        headers["properties"], headers["delivery_info"], headers["hostname"] = (
            properties,
            request._delivery_info,
            hostname,
        )
        headers["reply_to"], headers["correlation_id"] = properties.get("reply_to"), properties.get("correlation_id")
        headers["args"], headers["kwargs"] = request._args, request._kwargs
        request._request_dict = headers
        if isinstance(message, QuickMessage):
            message.awaits_pool = True
        return request

    def hand_over(self, take: Callable[[Any], Any]) -> Any:
        """Let a pool take it, and remember as what."""
        job = take(self)
        self._apply_result = None if job is None else ref(job)
        return job

    @property
    def _payload(self) -> Any:
        return self._body

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
    raw: dict[str, Any] = message._raw
    return raw


def leave_body(message: Any, body: object) -> None:
    """Let this be the decoded body, for which Celery asks at several places."""
    message._decoded_cache = body


def pool_children(pool: Any) -> tuple[int, ...]:
    """Return the process ids of a prefork pool's children that are alive; other pools have none."""
    if not isinstance(pool, PreforkPool) or pool._pool is None:
        return ()
    return tuple(child.pid for child in list(pool._pool._pool) if child.pid and child.exitcode is None)


def has_hands(pool: PreforkPool) -> bool:
    """Return whether a child of a prefork pool is up, so that it can be given a message."""
    return pool._pool is not None and bool(pool._pool._all_inqueues)
