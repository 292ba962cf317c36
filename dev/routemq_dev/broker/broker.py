"""The broker itself: sessions, retained messages, and who gets what."""

import asyncio
import contextlib
import logging

from routemq_dev.broker.control_packets import ApplicationMessage, Connect, Subscribe
from routemq_dev.broker.errors import ProtocolError, Reason
from routemq_dev.broker.packet_decoding import SESSION_FOREVER_S
from routemq_dev.broker.session_state import Interest, QueueFullError, Receiver, SessionState
from routemq_dev.broker.subscription_tree import SubscriptionTree, filter_matches, parse_filter

MAX_RETAINED_MESSAGES = 100_000
GOODBYE_TIMEOUT_S = 1.0

logger = logging.getLogger(__name__)


class Broker:
    """An MQTT broker in memory, on one event loop."""

    def __init__(self) -> None:
        self._clients: set[Receiver] = set()
        self._empty = asyncio.Event()
        self._sessions: dict[str, SessionState] = {}
        self._subscriptions = SubscriptionTree()
        self._retained: dict[str, ApplicationMessage] = {}

    async def stop(self) -> None:
        """Tell every client, and say what is lost with the memory."""
        left = sum(len(session.queue) + len(session.in_flight) for session in self._sessions.values())
        if left:
            logger.warning("messages lost with the broker's memory count=%d", left)
        for client in list(self._clients):
            client.close(Reason.SERVER_SHUTTING_DOWN, "the broker is shutting down")
        if self._clients:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), GOODBYE_TIMEOUT_S)

    def arrived(self, client: Receiver) -> None:
        """A network connection is there."""
        self._clients.add(client)

    def gone(self, client: Receiver) -> None:
        """A network connection is no more."""
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()

    def open_session(self, connect: Connect, client: Receiver) -> tuple[SessionState, bool]:
        """Return the client's session, now on this connection, and whether it was there before (MQTT 5, 3.1.2.4)."""
        session = self._sessions.get(connect.client_id)
        if session is not None and session.client is not None:
            session.client.close(Reason.SESSION_TAKEN_OVER, "another connection uses this client id")
            session = self._sessions.get(connect.client_id)
        if session is not None and connect.clean_start:
            self._end_session(session)
            session = None
        present = session is not None
        if session is None:
            session = self._sessions[connect.client_id] = SessionState(connect.client_id)
        session.connected_as(client, connect.expiry_s)
        return session, present

    def leave_session(self, session: SessionState, will: ApplicationMessage | None, will_delay_s: int) -> None:
        """The session's connection is gone; the will is None after a proper goodbye (MQTT 5, 3.1.2.5)."""
        session.disconnected()
        session.will = will
        loop = asyncio.get_running_loop()
        if session.expiry_s == 0:
            self._end_session(session)
            return
        if session.expiry_s != SESSION_FOREVER_S:
            session.end_timer = loop.call_later(session.expiry_s, self._end_session, session)
        if will_delay_s:
            session.will_timer = loop.call_later(will_delay_s, self._publish_will, session)
        else:
            self._publish_will(session)

    def publish(self, message: ApplicationMessage, publisher: str) -> int:
        """Put a message into the queue of every matching session, and return how many there were.

        Raises:
            QueueFullError: A session has no room; the message is in no queue yet.
            ProtocolError: There are too many retained messages.
        """
        targets = self._subscriptions.match(message.topic, publisher)
        if message.qos:
            for target in targets:
                if target.qos and not target.session.has_room:
                    raise QueueFullError(session=target.session)
        self._deliver(message, targets)
        return len(targets)

    def subscribe(
        self, session: SessionState, packet: Subscribe
    ) -> tuple[bytes, list[tuple[ApplicationMessage, Interest]]]:
        """Make the subscriptions; return the SUBACK's codes and the retained messages to send after it.

        Raises:
            ProtocolError: A topic filter is invalid, or No Local is asked of a share group.
        """
        parsed = [parse_filter(request.filter) for request in packet.requests]
        codes = bytearray()
        retained: list[tuple[ApplicationMessage, Interest]] = []
        for (share, topic_filter), request in zip(parsed, packet.requests, strict=True):
            if share is not None and request.no_local:
                raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="No Local on a shared subscription")
            if request.qos == 2:
                logger.warning("qos 2 granted as qos 1 client=%r filter=%r", session.client_id, request.filter)
            subscription = Interest(
                session=session,
                share=share,
                filter=topic_filter,
                qos=min(request.qos, 1),
                no_local=request.no_local,
                retain_as_published=request.retain_as_published,
                identifier=packet.identifier,
            )
            known = request.filter in session.subscriptions
            session.subscriptions[request.filter] = subscription
            self._subscriptions.add(subscription)
            codes.append(subscription.qos)
            # A shared subscription gets no retained messages (MQTT 5, 4.8.2).
            if share is None and request.retain_handling < (1 if known else 2):
                retained += [(message, subscription) for message in self._retained_for(topic_filter)]
        return bytes(codes), retained

    def unsubscribe(self, session: SessionState, filters: list[str]) -> bytes:
        """End subscriptions and return the UNSUBACK's codes. What is queued for them is still delivered."""
        codes = bytearray()
        for text in filters:
            subscription = session.subscriptions.pop(text, None)
            if subscription is not None:
                self._subscriptions.remove(subscription)
            codes.append(Reason.NO_SUBSCRIPTION_EXISTED if subscription is None else Reason.SUCCESS)
        return bytes(codes)

    def _deliver(self, message: ApplicationMessage, targets: list[Interest]) -> None:
        if message.retain:
            self._retain(message)
        for target in targets:
            target.session.offer(message, target, retain=message.retain and target.retain_as_published)

    def _retain(self, message: ApplicationMessage) -> None:
        if not message.payload:
            self._retained.pop(message.topic, None)
            return
        if message.topic not in self._retained and len(self._retained) >= MAX_RETAINED_MESSAGES:
            raise ProtocolError(
                reason=Reason.QUOTA_EXCEEDED, problem=f"there are {MAX_RETAINED_MESSAGES} retained messages already"
            )
        self._retained[message.topic] = message

    def _retained_for(self, topic_filter: str) -> list[ApplicationMessage]:
        if "+" not in topic_filter and "#" not in topic_filter:
            exact = self._retained.get(topic_filter)
            return [] if exact is None else [exact]
        return [message for topic, message in self._retained.items() if filter_matches(topic_filter, topic)]

    def _publish_will(self, session: SessionState) -> None:
        will, session.will = session.will, None
        if will is None:
            return
        try:
            # Nobody is there to be held back: a will goes into a full queue too.
            self._deliver(will, self._subscriptions.match(will.topic, session.client_id))
        except ProtocolError as exc:
            logger.warning("will refused client=%r: %s", session.client_id, exc)

    def _end_session(self, session: SessionState) -> None:
        """Forget a session. What its share groups entrusted to it goes to their other members, in order."""
        del self._sessions[session.client_id]
        for subscription in session.subscriptions.values():
            self._subscriptions.remove(subscription)
        self._publish_will(session)
        lost = 0
        for delivery in session.end():
            share, topic_filter = delivery.subscription.share, delivery.subscription.filter
            group = self._subscriptions.group(share, topic_filter) if share is not None else None
            if group:
                member = group.choose()
                member.session.offer(delivery.message, member, retain=False)
            else:
                lost += 1
        if lost:
            logger.warning("session ended with messages not acknowledged client=%r count=%d", session.client_id, lost)
