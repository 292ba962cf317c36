"""From a PUBLISH to a message on a queue, or among the dead letters."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from routemq.dead_letters import DeadLetter, Reason
from routemq.encoding import MessageEncoder
from routemq.envelope import Envelope
from routemq.errors import RouteMQError
from routemq.queues import FALLBACK_QUEUE
from routemq.text import error_line
from routemq_ingest.batch import Entry, OpenBatch
from routemq_ingest.errors import NoRouteError, PayloadTooLargeError, TopicNotUtf8Error
from routemq_ingest.packets import Publish
from routemq_ingest.remains import Remains
from routemq_ingest.subscriptions import Subscription, Subscriptions
from routemq_ingest.upstream.connection import BrokerConnection

if TYPE_CHECKING:
    from routemq_ingest.receipts import Receipt, Receipts

logger = logging.getLogger(__name__)

UNROUTED = "(no route)"
"""Under this name dead letters stand that no route can be told for."""


_MOST_SHOWN = 200


class Reception:
    """Takes what one MQTT session delivers into the batch. Payloads are never parsed.

    Attributes:
        by_number: Whether the broker says by subscription identifier which route a message is for.
        wanted: What the session is subscribed to.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        batch: OpenBatch,
        *,
        max_payload_bytes: int,
        show_payloads: bool,
        worker: str,
        remains: Remains,
        receipts: "Receipts | None" = None,
    ) -> None:
        self.by_number = True
        self.wanted: Sequence[Subscription] = ()
        self._subscriptions = subscriptions
        self._by_identifier = subscriptions.by_identifier
        self._batch = batch
        self._max_payload_bytes = max_payload_bytes
        self._unrouted = MessageEncoder(route=UNROUTED, queue=FALLBACK_QUEUE, show_payload=show_payloads)
        self._worker, self._remains, self._receipts = worker, remains, receipts

    def accept(self, connection: BrokerConnection, publish: Publish) -> bool:
        """Take a message; return whether there is room for another one."""
        batch = self._batch
        owed = connection if publish.qos else None
        identifiers = publish.identifiers
        subscription = self._by_identifier.get(identifiers[0]) if len(identifiers) == 1 else None
        try:
            topic = _plain_topic(publish)
            drawn = self._receipts is not None and self._receipts.draw()
            if drawn or subscription is None or topic is None or len(publish.payload) > self._max_payload_bytes:
                self._accept_any(publish, owed, drawn=drawn)
            else:
                item = subscription.encoder.encode(
                    topic, publish.payload, qos=publish.qos, retain=publish.retain, received_at=batch.received_at
                )
                batch.add((subscription.route_name, subscription.queue, item, None, owed, publish.mid))
        # A message of which nothing can be made must not end the process, which would get it again at the next start.
        except Exception as exc:  # noqa: BLE001
            self._give_up(publish, owed, subscription, exc)
        return batch.has_room

    def _give_up(
        self, publish: Publish, owed: BrokerConnection | None, subscription: Subscription | None, error: Exception
    ) -> None:
        """Bury what is left of a message; failing that, leave it to the MQTT broker, without a PUBACK."""
        try:
            envelope = Envelope(
                topic=publish.topic.decode(errors="replace"), payload=publish.payload, qos=publish.qos,
                retain=publish.retain, received_at=time.time(),
            )  # fmt: skip
            message = (self._unrouted if subscription is None else subscription.encoder).message(envelope)
            letter, item = self._remains.letter(message, reason="malformed", error=error)
            self._batch.add((message.route, message.queue, item, letter, owed, publish.mid))
        except Exception as exc:  # noqa: BLE001
            logger.error("a message stays with the mqtt broker, it cannot even be buried: %s", error_line(exc))
        else:
            logger.error("message buried: %s", letter.error, extra={"route": message.route, "message_id": message.id})

    def _accept_any(self, publish: Publish, owed: BrokerConnection | None, *, drawn: bool) -> None:
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
        found: Sequence[Subscription | None] = self._find(publish, topic) or (None,)
        entries: list[Entry] = []
        for subscription in found:
            problem, receipt = self._problem(subscription, envelope), None
            if self._receipts is not None:
                number = self._batch.taken + len(self._batch) + len(entries)
                receipt = self._receipts.begin(publish, subscription, number, drawn=drawn, is_queued=problem is None)
            entries.append(self._entry(subscription, envelope, problem, receipt))
        for entry in entries[:-1]:
            self._batch.add(entry)
        self._batch.add((*entries[-1][:4], owed, publish.mid))

    def _entry(
        self,
        subscription: Subscription | None,
        envelope: Envelope,
        problem: tuple[Reason, RouteMQError] | None,
        receipt: "Receipt | None",
    ) -> Entry:
        encoder = self._unrouted if subscription is None else subscription.encoder
        message = encoder.message(envelope, None if receipt is None else receipt.trace)
        if receipt is not None:
            receipt.of(message.id)
        if problem is None:
            return message.route, message.queue, message.encode(), None, None, 0
        reason, error = problem
        if receipt is not None:
            receipt.buried(reason, error)
        letter = DeadLetter.of(message, reason=reason, error=error, worker=self._worker)
        logger.warning(
            "message buried: %s (message %s, topic %s)", error, message.id, envelope.topic[:_MOST_SHOWN],
            extra={"route": message.route, "message_id": message.id, "topic": envelope.topic[:_MOST_SHOWN]},
        )  # fmt: skip
        return message.route, message.queue, message.encode(), letter, None, 0

    def _problem(self, subscription: Subscription | None, envelope: Envelope) -> tuple[Reason, RouteMQError] | None:
        """Return why a message cannot become a task."""
        size_bytes, allowed_bytes = len(envelope.payload), self._max_payload_bytes
        if envelope.topic_bytes is not None:
            return "malformed", TopicNotUtf8Error(topic=envelope.topic_bytes)
        if subscription is None:
            return "unroutable", NoRouteError(topic=envelope.topic)
        if size_bytes > allowed_bytes:
            return "too_large", PayloadTooLargeError(size_bytes=size_bytes, allowed_bytes=allowed_bytes)
        return None

    def _find(self, publish: Publish, topic: str) -> Sequence[Subscription]:
        """A broker may send one copy for several subscriptions, with all their identifiers (MQTT 5, 3.3.4).

        Some forget the identifiers of what has waited in a session, rumqttd for one: then the topic tells.
        """
        if not (self.by_number and publish.identifiers):
            return self._subscriptions.for_topic(topic, self.wanted)
        known = self._by_identifier
        return [known[identifier] for identifier in publish.identifiers if identifier in known]


def _plain_topic(publish: Publish) -> str | None:
    """Return the topic of a message without MQTT 5 properties; None when it has some, or its topic is not UTF-8."""
    if publish.content_type is not None or publish.response_topic is not None:
        return None
    if publish.correlation_data is not None or publish.user_properties:
        return None
    try:
        return publish.topic.decode()
    except UnicodeDecodeError:
        return None
