"""Celery's events: kept, within limits, while Redis is away; without characters that act on who reads them."""

import time
from collections import deque
from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher
from celery.events.event import group_from
from celery.utils.time import utcoffset

from routemq.dead_letters.fingerprint import shortened
from routemq.text import printable

MOST_BATCHES_KEPT = 100

_TASK = "task"
_LONGEST_TEXT = 16_000
"""A traceback holds the text of the exception, which may be of any length."""


class RouteEvents(Events):
    """What Celery's app makes of events, with our dispatcher."""

    dispatcher_cls = "routemq_tasks.upstream.events:BatchingDispatcher"


class BatchingDispatcher(EventDispatcher):
    """Celery's dispatcher; of batches that could not be sent, it keeps the newest."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._outbound_buffer: deque[tuple[Any, str]] = deque(maxlen=MOST_BATCHES_KEPT)

    def send(self, kind: str, /, *args: Any, **fields: Any) -> Any:
        """Send an event; what came with a message is in it as printable text."""
        # A worker without -E sends its heartbeats alone.
        if not self.enabled or (self.groups and group_from(kind) not in self.groups):
            return None
        return super().send(kind, *args, **_printable(fields))

    def send_soon(self, kind: str, /, **fields: Any) -> None:
        """Send an event of a task with the next batch, as `send` does, in fewer steps."""
        if not self.enabled or (self.groups and _TASK not in self.groups):
            return
        if _TASK not in self.buffer_group:
            self.send(kind, **fields)
            return
        event = _printable(fields)
        event["type"], event["timestamp"], event["clock"] = kind, time.time(), self.clock.forward()
        event["hostname"], event["utcoffset"], event["pid"] = self.hostname, utcoffset(), self.pid
        waiting = self._group_buffer[_TASK]
        waiting.append(event)
        if len(waiting) >= self.buffer_limit:
            self.flush()
        elif self.on_send_buffered:
            self.on_send_buffered()

    def publish(self, kind: str, fields: dict[str, Any], /, *args: Any, **options: Any) -> Any:
        """Likewise, by a producer of the caller's."""
        return super().publish(kind, _printable(fields), *args, **options)

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what the dispatcher of a lost connection has not sent; Celery forgets the batch that it fills."""
        super().extend_buffer(other)
        for group, events in other._group_buffer.items():  # noqa: SLF001
            self._group_buffer[group].extend(events)


def _printable(fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if isinstance(value, str) and not (value.isprintable() and len(value) <= _LONGEST_TEXT):
            fields = fields | {name: _told(value)}
    return fields


def _told(text: str) -> str:
    # Cut before each character is looked at, and once more if that has made it longer.
    shown = printable(text if len(text) <= _LONGEST_TEXT else shortened(text, _LONGEST_TEXT), lines=True)
    return shown if len(shown) <= _LONGEST_TEXT else shortened(shown, _LONGEST_TEXT)
