"""A message between Celery's consumer and its pool."""

from collections.abc import Iterable
from typing import Any

from celery.worker.request import Request

from routemq_transport.upstream.quick_message import JSON, QuickMessage


class StartingRequest(Request):
    """Celery's request, which tells the lease that its task starts.

    Pools without processes of their own accept a task just before they run it. RouteMQ's prefork pool says it when it
    hands the task to a child; Celery's own when a child has told that it has begun.

    Attributes:
        accepted_at: When the pool took it, by a clock that never jumps; Celery's `time_start` is by one that does.
    """

    accepted_at: float | None = None

    def __init__(self, message: Any, *, body: Any = None, decoded: bool = False, **options: Any) -> None:
        if isinstance(message, QuickMessage):
            message.awaits_pool = True
            if not decoded and message.content_type == JSON:
                # Celery would decode the body again where it runs, which takes a tenth of a worker's time.
                body, decoded = message.payload, True
        super().__init__(message, body=body, decoded=decoded, **options)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The pool runs the task now."""
        self.say_start()
        self.say_accepted(pid, time_accepted)

    def say_accepted(self, pid: int, time_accepted: float) -> None:
        """Tell all but the lease, which knows it already, that the pool runs the task, or has."""
        self.accepted_at = time_accepted
        super().on_accepted(pid, time_accepted)

    def say_start(self) -> None:
        """Let the loss of this worker be a strike for the message from now on."""
        message: Any = self.message
        if isinstance(message, QuickMessage):
            message.channel.lease.starting(message.delivery_tag)

    def say_waits(self) -> None:
        """It was said to start, and has not: unless it does so soon, the loss of this worker is no strike for it."""
        message: Any = self.message
        if isinstance(message, QuickMessage):
            message.channel.lease.waiting(message.delivery_tag)


def say_starts(messages: Iterable[Any]) -> None:
    """Let the loss of this worker be a strike for all of these messages from now on, told to Redis at once."""
    ours = [message for message in messages if isinstance(message, QuickMessage)]
    for lease in {message.channel.lease for message in ours}:
        lease.starting(*(message.delivery_tag for message in ours if message.channel.lease is lease))
