"""What the broker keeps for one client id: its subscriptions and the messages it has not acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from routemq.errors import RouteMQError
from routemq_dev.broker.control_packets import ApplicationMessage
from routemq_dev.broker.errors import Reason

MAX_QUEUED_MESSAGES = 100_000
MAX_QUEUED_BYTES = 256 * 1024 * 1024

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Interest:
    """One session's interest in one topic filter.

    Attributes:
        share: The share name, None for a subscription of its own.
        filter: The topic filter, without `$share/<share name>/`.
        identifier: The encoded Subscription Identifier property, or nothing.
    """

    session: SessionState
    share: str | None
    filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: bytes


@dataclass(slots=True, eq=False)
class Sending:
    """One message on its way to one session. It keeps its packet id over reconnects; 0 means never sent."""

    message: ApplicationMessage
    subscription: Interest
    qos: int
    retain: bool
    packet_id: int = 0


class Receiver(Protocol):
    """Who takes a session's messages while it is connected."""

    receive_maximum: int

    @property
    def writable(self) -> bool:
        """Whether another message may be sent now."""

    def send_message(self, delivery: Sending, *, dup: bool) -> bool:
        """Send a PUBLISH; False when it cannot have it."""

    def close(self, reason: Reason, text: str) -> None:
        """End its connection from the broker's side."""


class QueueFullError(RouteMQError):
    """A session has no room for another QoS 1 message, so that who publishes it has to wait."""

    def __init__(self, *, session: SessionState) -> None:
        self.session = session
        super().__init__(f"the queue of client {session.client_id!r} is full")


class SessionState:
    """One client's session, with or without a connection (MQTT 5, 4.1).

    `queue` holds what waits to be sent, `in_flight` what was sent with QoS 1 and is not acknowledged, both in order;
    `received` the packet ids of QoS 2 publishes that are taken, until their PUBREL (MQTT 5, 4.3.3).
    """

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.expiry_s = 0
        self.client: Receiver | None = None
        self.subscriptions: dict[str, Interest] = {}
        self.queue: deque[Sending] = deque()
        self.in_flight: dict[int, Sending] = {}
        self.received: set[int] = set()
        self.end_timer: asyncio.TimerHandle | None = None
        self.will: ApplicationMessage | None = None
        self.will_timer: asyncio.TimerHandle | None = None
        self._bytes = 0
        self._last_packet_id = 0
        self._dropped = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether a client is there now."""
        return self.client is not None

    @property
    def has_room(self) -> bool:
        """Whether another QoS 1 message may be queued."""
        return self._below(1.0)

    def _below(self, share: float) -> bool:
        queued = len(self.queue) + len(self.in_flight)
        return queued < share * MAX_QUEUED_MESSAGES and self._bytes < share * MAX_QUEUED_BYTES

    def call_when_room(self, callback: Callable[[], None]) -> None:
        """Call back once, when a tenth of the queue is free again or the session has ended."""
        self._waiting.append(callback)

    def offer(self, message: ApplicationMessage, subscription: Interest, *, retain: bool) -> None:
        """Queue a message and send it when the client can take it.

        For QoS 1 the caller looks at `has_room` first. QoS 0 is only for who is connected and keeps up (MQTT 5, 4.3.1).
        """
        qos = min(message.qos, subscription.qos)
        if qos == 0 and not (self.connected and self.has_room):
            if self.connected:
                self._dropped += 1
                if self._dropped % 1000 == 1:
                    logger.warning("qos 0 messages dropped client=%r so_far=%d", self.client_id, self._dropped)
            return
        self._bytes += len(message.payload)
        self.queue.append(Sending(message, subscription, qos, retain))
        self.pump()

    def pump(self) -> None:
        """Send what the client's receive maximum and its socket allow."""
        client = self.client
        if client is None:
            return
        queue, in_flight = self.queue, self.in_flight
        while queue and client.writable:
            delivery = queue[0]
            if delivery.qos and len(in_flight) >= client.receive_maximum:
                break
            queue.popleft()
            dup = delivery.packet_id != 0
            if delivery.qos and not dup:
                delivery.packet_id = self._next_packet_id()
            if not client.send_message(delivery, dup=dup) or not delivery.qos:
                self._release(delivery)
            else:
                in_flight[delivery.packet_id] = delivery

    def acknowledge(self, packet_id: int) -> None:
        """The client has taken over a QoS 1 message."""
        delivery = self.in_flight.pop(packet_id, None)
        if delivery is None:
            logger.debug("puback for an unknown packet id client=%r packet_id=%d", self.client_id, packet_id)
            return
        self._release(delivery)
        self.pump()

    def connected_as(self, client: Receiver, expiry_s: int) -> None:
        """A client is there, new or back: the session neither ends nor publishes its will now."""
        self._stop_timers()
        self.will = None
        self.client, self.expiry_s = client, expiry_s

    def disconnected(self) -> None:
        """The connection is gone: what was in flight goes first when the client is back, QoS 0 goes nowhere."""
        self.client = None
        kept = [*self.in_flight.values(), *(delivery for delivery in self.queue if delivery.qos)]
        self.in_flight.clear()
        self._keep(kept)

    def end(self) -> list[Sending]:
        """Forget everything; return what was not acknowledged, in order."""
        self._stop_timers()
        self.disconnected()
        left = list(self.queue)
        self._keep([])
        return left

    def _stop_timers(self) -> None:
        for timer in (self.end_timer, self.will_timer):
            if timer is not None:
                timer.cancel()

    def _keep(self, deliveries: Iterable[Sending]) -> None:
        self.queue = deque(deliveries)
        self._bytes = sum(len(delivery.message.payload) for delivery in self.queue)
        self._wake()

    def _release(self, delivery: Sending) -> None:
        self._bytes -= len(delivery.message.payload)
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        # A tenth at a time, so that a publisher is not woken for every single acknowledgement.
        if self._below(0.9):
            waiting, self._waiting = self._waiting, []
            loop = asyncio.get_running_loop()
            for callback in waiting:
                loop.call_soon(callback)

    def _next_packet_id(self) -> int:
        while True:
            self._last_packet_id = self._last_packet_id % 65_535 + 1
            if self._last_packet_id not in self.in_flight:
                return self._last_packet_id
