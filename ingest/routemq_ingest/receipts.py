"""Spans of messages on their way from the MQTT broker to Redis. Imported only where traces are made."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from routemq.text import error_line, error_name, printable
from routemq.tracing.trace_context import TraceContext
from routemq.tracing.tracer_provider import Roots, context_of, trace_context, unsampled
from routemq_ingest.packets import Publish
from routemq_ingest.subscriptions import Subscription

logger = logging.getLogger(__name__)

_LONGEST_TOPIC = 500
"""Bytes of it that a span shows."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message between its receipt and Redis' word that it has it.

    Attributes:
        received: What the MQTT broker delivered.
        sent: How it gets to the queue; None when there is none for it.
    """

    received: Span
    sent: Span | None

    @property
    def trace(self) -> TraceContext | None:
        """What the message says of where it comes from."""
        return trace_context((self.sent or self.received).get_span_context())

    def of(self, message_id: str) -> None:
        """Say which message it is of."""
        for span in (self.received, self.sent):
            if span is not None:
                span.set_attribute("messaging.message.id", message_id)

    def buried(self, reason: str, error: Exception) -> None:
        """It became a dead letter. The error's text stays there: it may hold some of the payload."""
        span = self.received
        span.set_attributes({"routemq.outcome": "dead", "routemq.reason": reason, "error.type": error_name(error)})
        span.set_status(Status(StatusCode.ERROR, f"dead letter, reason {reason}"))


class Receipts:
    """Used by the loop's thread alone. No error of a trace is an error of its message.

    Two spans each, for what draws the way of messages through a system pairs a PRODUCER with a CONSUMER: one is the
    consumer of the publisher's, the other the producer for the worker's.

    Attributes:
        none: What a message says that nobody traces, so that no worker begins a trace without its first half. It is
            the same for all of them: it costs nothing, and is never seen.
    """

    def __init__(self, provider: Any, *, client_id: str, group: str) -> None:
        self._tracer = provider.get_tracer("routemq.ingest")
        self._roots = Roots(provider)
        self._common = {"messaging.client.id": client_id, "messaging.consumer.group.name": group}
        self._open: deque[tuple[int, Receipt]] = deque()
        self.none = unsampled()

    def draw(self) -> bool:
        """Return whether the next message begins a trace, if it comes without one."""
        return self._roots.draw()

    def begin(
        self, publish: Publish, subscription: Subscription | None, number: int, *, drawn: bool, is_queued: bool
    ) -> Receipt | None:
        """Begin the spans of a message; None when it is not traced.

        Args:
            number: Of the message among all that the batch ever had.
            drawn: What `draw` said.
            is_queued: It goes to a queue, and not to the dead letters.
        """
        try:
            parent = context_of(TraceContext.in_properties(publish.user_properties))
            if parent is None and not drawn:
                return None
            receipt = self._begin(publish, subscription, parent or Context(), is_queued=is_queued)
        except Exception as exc:  # noqa: BLE001
            logger.debug("no trace of a message: %s", error_line(exc))
            return None
        self._open.append((number, receipt))
        return receipt

    def settled(self, taken: int) -> None:
        """So many messages of the batch are in Redis by now."""
        opened = self._open
        while opened and opened[0][0] < taken:
            _, receipt = opened.popleft()
            if receipt.sent is not None:
                receipt.sent.end()
            receipt.received.end()

    def _begin(
        self, publish: Publish, subscription: Subscription | None, parent: Context, *, is_queued: bool
    ) -> Receipt:
        topic = publish.topic[:_LONGEST_TOPIC].decode(errors="replace")
        template = "(no route)" if subscription is None else subscription.route.template.text
        size_bytes = len(publish.payload)
        received = self._tracer.start_span(
            f"receive {template}",
            parent,
            SpanKind.CONSUMER,
            self._common
            | {
                "messaging.system": "mqtt",
                "messaging.operation.name": "receive",
                "messaging.operation.type": "receive",
                "messaging.destination.name": printable(topic),
                "messaging.destination.template": template,
                "messaging.message.body.size": size_bytes,
                "messaging.mqtt.qos": publish.qos,
            },
        )
        if subscription is None or not is_queued:
            return Receipt(received, None)
        sent = self._tracer.start_span(
            f"send {subscription.queue}",
            trace.set_span_in_context(received, parent),
            SpanKind.PRODUCER,
            {
                "messaging.system": "redis",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": subscription.queue,
                "messaging.message.body.size": size_bytes,
                "routemq.route": subscription.route_name,
            },
        )
        return Receipt(received, sent)
