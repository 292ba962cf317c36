"""How many messages this worker may hold, and what becomes of those it holds."""

import logging
from collections.abc import Sequence
from typing import Any

from celery.worker import state
from kombu.transport import redis as stock

from routemq_transport.fetching.room import MOMENT_S, window_of
from routemq_transport.holding.acknowledgements import ACK_DELAY_S
from routemq_transport.holding.lease import Lease

logger = logging.getLogger(__name__)


class QoS(stock.QoS):
    """Prefetch accounting of one channel; its lease is where tags live.

    Attributes:
        waiting: Messages that were fetched and are not delivered yet.
        alone: Tag of a message that killed two workers, and runs with nothing beside it.
        gathers: Messages in hand wait for others. So the window keeps its size: from a smaller one, of a slower pace,
            they would hear neither that it is full nor of more.
    """

    gathers = False

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._delivered: Any
        self.waiting = 0
        self.alone: str | None = None
        self._let_go: dict[str, str] = {}

    @property
    def lease(self) -> Lease:
        lease: Lease = self.channel.lease
        return lease

    @property
    def in_hand(self) -> int:
        """How many messages this worker holds."""
        return len(self._delivered) + self.waiting

    @property
    def window(self) -> int:
        """How many messages this worker may hold, 0 for any number."""
        if self.gathers:
            return int(self.prefetch_count)
        return window_of(self.prefetch_count, self.lease.starts_within(MOMENT_S))

    @property
    def all_run(self) -> bool:
        """Whether no message in hand waits for its turn, so that slots may be free."""
        if self.waiting:
            return False
        running = running_tags()
        return all(tag in running or not message.awaits_pool for tag, message in list(self._delivered.items()))

    def can_consume(self) -> bool:
        """Return whether to fetch now."""
        if self.alone is not None:
            return False
        may: bool = self.channel.intake.pace.has_room(self.window, self.in_hand)
        return may

    def can_consume_max_estimate(self) -> int | None:
        """Return how many messages to fetch at most, None for any number."""
        window = self.window
        return max(window - self.in_hand, 0) if window else None

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message was delivered; the fetch has recorded it already."""
        self._delivered[delivery_tag] = message

    def ack(self, delivery_tag: str) -> None:
        """A message is done, or its outcome is recorded elsewhere; then this finds nothing, and counts nothing."""
        message = self._delivered.pop(delivery_tag, None)
        # Its task may have outlived the connection.
        route = self._let_go.pop(delivery_tag, None) if message is None else _route_of(message)
        self._drop(delivery_tag, route)

    def ack_together(self, delivery_tags: Sequence[str]) -> None:
        """Messages of one run are done, as `ack` has it of one; Redis hears of many in one step."""
        by_route: dict[str | None, list[str]] = {}
        for tag in delivery_tags:
            message = self._delivered.pop(tag, None)
            route = self._let_go.pop(tag, None) if message is None else _route_of(message)
            by_route.setdefault(route, []).append(tag)
        for route, tags in by_route.items():
            self.lease.done(*tags, route=route)
        self.channel.turn_in(ACK_DELAY_S)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message that nobody ran, or put it at the back of its queue, later each time.

        One whose outcome is recorded elsewhere is not there to be put back.
        """
        self._delivered.pop(delivery_tag, None)
        if not requeue:
            self._drop(delivery_tag, None)
            return
        if delivery_tag == self.alone:
            self.alone = None
        # Who calls the event loop himself may look for it at once.
        self.lease.put_back([delivery_tag], "returned", at_once=self.channel.delivers_one_by_one)
        self.channel.turn_in(ACK_DELAY_S)

    def _drop(self, delivery_tag: str, route: str | None) -> None:
        channel = self.channel
        channel.lease.done(delivery_tag, route=route)
        if delivery_tag == self.alone:
            self.alone = None
            # The next message may end this worker: this one must not be held with it.
            channel.lease.flush()
        channel.turn_in(ACK_DELAY_S)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """The lease's thread does it, also while the main loop is busy."""

    def restore_unacked(self, client: Any = None) -> None:
        """Put back all that was delivered and is not acknowledged."""
        messages = dict(self._delivered)
        self._delivered.clear()
        self.alone = None
        started = running_tags()
        # Celery has it in hand and has not begun; what another consumer was given, it has looked at.
        unread = [tag for tag, message in messages.items() if message.awaits_pool and tag not in started]
        self.lease.put_back(unread, "unread")
        self.lease.put_back([tag for tag in messages if tag not in set(unread)], "returned")
        self.channel.given_back(message.queue for message in messages.values())

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """The channel closes: give back what will not be run, keep the lease of what still runs."""
        self._on_collect.cancel()
        if self._delivered.restored or not self.channel.has_lease:
            return
        self._delivered.restored = True
        given_back = self.channel.intake.put_back_undelivered()
        stopping = state.should_stop is not None or state.should_terminate is not None
        busy = set() if stopping else {*state.active_requests, *state.reserved_requests}
        if busy:
            # The connection was lost, and the pool goes on.
            messages = dict(self._delivered)
            routes = ((tag, _route_of(message)) for tag, message in messages.items())
            self._let_go.update((tag, route) for tag, route in routes if route is not None)
            # Emptied, not replaced: kombu keeps a method of this very dict, and with it the messages alive.
            self._delivered.clear()
            self.lease.let_go(messages)
        else:
            given_back += len(self._delivered)
            self.restore_unacked()
            self.lease.end()
        if given_back:
            logger.info("Restoring %d unacknowledged message(s)", given_back)


def has_full_hands(channel: Any) -> bool:
    """Return whether a worker gets no more messages over a channel, ours or kombu's, before one of them is done."""
    qos = channel.qos
    if not isinstance(qos, QoS):
        return not qos.can_consume()
    return bool(qos.window) and not qos.waiting and qos.in_hand >= qos.window


def _route_of(message: Any) -> str | None:
    """Return the route of a message that is RouteMQ's own; another application's tasks are nobody's to count."""
    headers = message.headers
    route = headers.get("task") if headers.get("routemq") else None
    return route if isinstance(route, str) else None


def running_tags() -> set[str]:
    """Return the delivery tags of what this worker's pool has accepted."""
    requests: list[Any] = []
    for _ in range(10):
        try:
            requests = list(state.active_requests)
            break
        except RuntimeError:
            # Another thread changed the set meanwhile.
            continue
    tags = (getattr(request.message, "delivery_tag", None) for request in requests)
    return {tag for tag in tags if tag is not None}
