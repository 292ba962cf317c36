"""From a PUBLISH to a message on a queue, or among the dead letters."""

import logging
from collections.abc import Sequence

from routemq.dead_letters import DeadLetter, Reason
from routemq.encoding import MessageEncoder
from routemq.envelope import Envelope
from routemq.errors import RouteMQError
from routemq.queues import FALLBACK_QUEUE
from routemq_ingest.batch import MAX_BYTES, MAX_MESSAGES, Batch
from routemq_ingest.connection import BrokerConnection
from routemq_ingest.errors import NoRouteError, PayloadTooLargeError, TopicNotUtf8Error
from routemq_ingest.packets import Publish
from routemq_ingest.subscriptions import Subscription, Subscriptions

logger = logging.getLogger(__name__)

UNROUTED = "(no route)"
"""Under this name dead letters stand that no route can be told for."""


class Intake:
    """Takes what one MQTT session delivers into the batch. Payloads are never parsed.

    Attributes:
        by_number: Whether the broker says by subscription identifier which route a message is for.
    """

    def __init__(
        self, subscriptions: Subscriptions, batch: Batch, *, max_payload_bytes: int, show_payloads: bool, worker: str
    ) -> None:
        self.by_number = True
        self._subscriptions = subscriptions
        self._by_identifier = subscriptions.by_identifier
        self._batch = batch
        self._max_payload_bytes = max_payload_bytes
        self._unrouted = MessageEncoder(route=UNROUTED, queue=FALLBACK_QUEUE, show_payload=show_payloads)
        self._worker = worker

    def accept(self, connection: BrokerConnection, publish: Publish) -> bool:
        """Take a message; return whether there is room for another one."""
        batch = self._batch
        identifiers = publish.identifiers
        subscription = self._by_identifier.get(identifiers[0]) if len(identifiers) == 1 else None
        if subscription is None or len(publish.payload) > self._max_payload_bytes or _is_rich(publish):
            self._accept_any(publish)
        else:
            try:
                topic = publish.topic.decode()
            except UnicodeDecodeError:
                self._accept_any(publish)
            else:
                item = subscription.encoder.encode(
                    topic, publish.payload, qos=publish.qos, retain=publish.retain, received_at=batch.received_at
                )
                batch.add(route=subscription.route_name, queue=subscription.queue, item=item)
        if publish.qos:
            batch.owe(connection, publish.mid)
        return batch.messages < MAX_MESSAGES and batch.size_bytes < MAX_BYTES

    def _accept_any(self, publish: Publish) -> None:
        topic = publish.topic.decode(errors="replace")
        readable = topic.encode() == publish.topic
        envelope = Envelope(
            topic=topic,
            payload=publish.payload,
            qos=publish.qos,
            retain=publish.retain,
            received_at=float(self._batch.received_at),
            content_type=publish.content_type,
            response_topic=publish.response_topic,
            correlation_data=publish.correlation_data,
            user_properties=publish.user_properties,
            topic_bytes=None if readable else publish.topic,
        )
        found = self._find(publish, topic)
        if not found:
            error: RouteMQError = NoRouteError(topic=topic) if readable else TopicNotUtf8Error(topic=publish.topic)
            self._bury(None, envelope, "unroutable" if readable else "malformed", error)
        for subscription in found:
            size_bytes, allowed_bytes = len(publish.payload), self._max_payload_bytes
            if not readable:
                self._bury(subscription, envelope, "malformed", TopicNotUtf8Error(topic=publish.topic))
            elif size_bytes > allowed_bytes:
                error = PayloadTooLargeError(size_bytes=size_bytes, allowed_bytes=allowed_bytes)
                self._bury(subscription, envelope, "too_large", error)
            else:
                item = subscription.encoder.encode_envelope(envelope)
                self._batch.add(route=subscription.route_name, queue=subscription.queue, item=item)

    def _find(self, publish: Publish, topic: str) -> Sequence[Subscription]:
        """A broker may send one copy for several subscriptions, with all their identifiers (MQTT 5, 3.3.4).

        Some forget the identifiers of what has waited in a session, rumqttd for one: then the topic tells.
        """
        if not (self.by_number and publish.identifiers):
            return self._subscriptions.for_topic(topic)
        known = self._by_identifier
        return [known[identifier] for identifier in publish.identifiers if identifier in known]

    def _bury(self, subscription: Subscription | None, envelope: Envelope, reason: Reason, error: RouteMQError) -> None:
        encoder = self._unrouted if subscription is None else subscription.encoder
        message = encoder.message(envelope)
        letter = DeadLetter.of(message, reason=reason, error=error, worker=self._worker)
        self._batch.add_dead(letter, message.encode(), route=message.route)
        logger.warning(
            "message buried: %s (message %s)", error, message.id,
            extra={"route": message.route, "message_id": message.id},
        )  # fmt: skip


def _is_rich(publish: Publish) -> bool:
    return (
        publish.content_type is not None
        or publish.response_topic is not None
        or publish.correlation_data is not None
        or bool(publish.user_properties)
    )
