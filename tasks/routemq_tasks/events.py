"""Celery's events, which survive a loss of the connection, and do not grow without end while Redis is away."""

from collections import deque
from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher

MOST_BATCHES_KEPT = 100


class RouteEvents(Events):
    """What Celery's app makes of events, with our dispatcher."""

    dispatcher_cls = "routemq_tasks.events:BatchingDispatcher"


class BatchingDispatcher(EventDispatcher):
    """Celery's dispatcher; of batches that could not be sent, it keeps the newest."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._outbound_buffer: deque[tuple[Any, str]] = deque(maxlen=MOST_BATCHES_KEPT)

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what the dispatcher of a lost connection has not sent; Celery forgets the batch that it fills."""
        super().extend_buffer(other)
        for group, events in other._group_buffer.items():  # noqa: SLF001
            self._group_buffer[group].extend(events)
