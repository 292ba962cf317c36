"""Celery's and kombu's objects, with public names for what they keep to themselves."""

# ruff: noqa: SLF001  a request that is made in fewer steps is filled from here

import logging
import time
from collections.abc import Callable
from typing import Any, Self
from weakref import ref

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import logger as request_logger
from routemq_transport.starting_request import StartingRequest
from routemq_transport.upstream.quick_message import QuickMessage

from routemq_tasks.upstream.events import BatchingDispatcher


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

    def enter_pool(self) -> None:
        """Be among what Celery has in hand, as its `task_reserved` has it, of a request that was never put off."""
        state.requests[self.id] = self
        state.reserved_requests.add(self)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  Celery's name
        """Tell monitors of the message."""
        events = self._eventer
        if events and events.enabled and self._task.send_events:
            (events.send_soon if isinstance(events, BatchingDispatcher) else events.send)(type, uuid=self.id, **fields)

    def leave_pool(self) -> None:
        """Be so no more, as its `task_ready` has it."""
        state.requests.pop(self.id, None)
        state.active_requests.discard(self)
        state.reserved_requests.discard(self)
        if state.scheduled_requests:
            state.scheduled_requests.discard(self)

    def say_accepted(self, pid: int, time_accepted: float) -> None:
        """Tell all but the lease that the pool runs the task, or has."""
        if self._terminate_on_ack is not None or request_logger.isEnabledFor(logging.DEBUG):
            super().say_accepted(pid, time_accepted)
            return
        self.accepted_at, self.worker_pid = time_accepted, pid
        self.time_start = time.time() - (time.monotonic() - time_accepted)
        state.requests[self.id] = self
        state.active_requests.add(self)
        # Celery's `task_accepted` makes a mapping to add one to each.
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        self.send_event("task-started")

    def trace(self) -> tuple[int, Any, float | None]:
        """Run the task in this thread, as Celery's `fast_trace_task` does, and return what that does."""
        value, info, took_s, shown = self._task.__trace__(self.id, self._args, self._kwargs, self._request_dict)
        return (1, value, took_s) if info else (0, shown, took_s)

    def revoked(self) -> bool:
        """Return whether an operator has revoked it, or its time is over; then everybody is told."""
        # By stamps it cannot be: it has none.
        if not (self._already_revoked or self._expires or self.id in state.revoked):
            return False
        return bool(super().revoked())

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
