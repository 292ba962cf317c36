"""kombu's Redis channel, which takes many messages in one step and delivers them one by one."""

import logging
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import redis
from kombu.transport import redis as stock
from kombu.utils.scheduling import round_robin_cycle

from routemq.lifecycle.limits import MOST_DELIVERIES, STRIKES_TO_DIE, STRIKES_TO_RUN_ALONE
from routemq.lifecycle.moves import LeaseTimes, Moves
from routemq.mark import UNMARKED
from routemq.text import error_line
from routemq.upstream.redis_connection import RedisConnection, RedisSSLConnection
from routemq_transport.fetching.fetcher import Turn
from routemq_transport.fetching.intake import Intake
from routemq_transport.fetching.wakeup import WakeUp
from routemq_transport.holding.lease import Lease
from routemq_transport.item_reading import read_item
from routemq_transport.items import DeliveredTooOftenError, Item
from routemq_transport.upstream.qos import QoS, running_tags
from routemq_transport.upstream.queueing import QueueingChannel
from routemq_transport.upstream.quick_message import QuickMessage

logger = logging.getLogger(__name__)

_OPTIONS = ("stock_visibility_timeout", "longest_redelivery_delay", "hands_out_waiting")

_LISTENING_ASKED_S = 25.0
"""How long the connection for remote control and events may be silent before it is asked for a sign of life."""
_LISTENING_LATE_S = 10.0


def _known(channel: type[stock.Channel]) -> list[str]:
    # A fetch records what it takes in the same step: there is nothing to leave out.
    return [option for option in channel.from_transport_options if option != "ack_emulation"]


class FetchingChannel(QueueingChannel):
    """What our channels add to kombu's.

    Attributes:
        visibility_timeout: How long a message stays with a worker that does not renew its lease, in seconds.
        stock_visibility_timeout: The same for a worker with Celery's own transport that shares the queues.
        longest_redelivery_delay: A message that comes back again and again waits at most this long, in seconds.
        hands_out_waiting: Hand out also what waits for its time, for a consumer that moves a queue elsewhere.
    """

    QoS = QoS
    Message = QuickMessage

    visibility_timeout = 120
    stock_visibility_timeout = 3600
    longest_redelivery_delay = 60
    hands_out_waiting = False

    from_transport_options = (*_known(stock.Channel), *_OPTIONS)

    def __init__(self, *args: Any, **options: Any) -> None:
        self._receivers: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        self._lease: Lease | None = None
        self._consumed: list[str] = []
        self._heard_at = 0.0
        self._asked_at: float | None = None
        super().__init__(*args, **options)
        self.handlers = {"BRPOP": self._read_fetch, "WAKE": self._read_wakeup, "LISTEN": self._receive}

    @cached_property
    def intake(self) -> Intake:
        """What moves messages to this channel's consumers."""
        return Intake(self, self.keys)

    @property
    def active_queues(self) -> list[str]:
        """The queues that are consumed, without those of remote control; asked for in every turn of the event loop."""
        return self._consumed

    def _update_queue_cycle(self) -> None:
        fanout = self.active_fanout_queues
        self._consumed = [queue for queue in dict.fromkeys(self._active_queues) if queue not in fanout]
        super()._update_queue_cycle()

    @property
    def has_lease(self) -> bool:
        """Whether this channel ever held a message."""
        return self._lease is not None

    @property
    def lease(self) -> Lease:
        """The lease of what this channel holds; made on first use."""
        if self._lease is None:
            client = redis.Redis(connection_pool=self._get_pool())
            moves = Moves(client, self.keys, longest_delay_s=float(self.longest_redelivery_delay))
            self._lease = Lease(
                client,
                moves,
                self.keys,
                LeaseTimes(own_s=float(self.visibility_timeout), others_s=float(self.stock_visibility_timeout)),
                running=running_tags,
                restore_other=lambda tag: self.restore_other(client, moves, tag),
            )
        return self._lease

    # What the intake asks of its channel.

    @property
    def delivers_one_by_one(self) -> bool:
        """Whether the event loop is the caller's, who counts on one message for each call."""
        # A message may be rejected when its channel is closed.
        return self.connection is not None and bool(self.connection.cycle.is_callers)

    @property
    def fetching_connection(self) -> Any:
        """The connection that the event loop watches for replies."""
        return self.client.connection

    def next_turn(self) -> Turn:
        """From what to fetch next."""
        fair = isinstance(self._queue_cycle, round_robin_cycle)
        queues = self.active_queues if fair else self._queue_cycle.consume(len(self.active_queues))
        return Turn(queues=tuple(queues), priorities=tuple(self.priority_steps), fair=fair)

    def turn_of(self, queue: str) -> Turn:
        """How to fetch from one queue."""
        return Turn(queues=(queue,), priorities=tuple(self.priority_steps), fair=True)

    def served(self, queue: str) -> None:
        """This queue had its turn."""
        self._queue_cycle.rotate(queue)

    def turn_in(self, delay_s: float) -> None:
        """Turn the intake again after this many seconds at the latest."""
        if self.connection is not None:
            self.connection.cycle.turn_in(delay_s)

    def poll_wakeup(self, wakeup: WakeUp) -> None:
        """Let the event loop watch the wake-up connection."""
        self.connection.cycle.register_wakeup(self, wakeup)

    def mark_polled(self, connection: Any) -> None:
        """Tell kombu on which connection a reply is awaited."""
        self._in_poll = connection

    def deliver(self, item: Item) -> None:
        """Hand one message to its consumer, and elsewhere what no consumer can take."""
        receiver = self._receivers.get(item.queue)
        if receiver is None:
            # The consumer was cancelled meanwhile.
            self.lease.put_back([item.tag], "unread")
            return
        callback, no_ack = receiver
        try:
            payload, mark = read_item(item)
            message = self.Message(payload, channel=self)
        # Whatever the bytes make of kombu's codecs is the message's failure.
        except Exception as exc:  # noqa: BLE001
            self._refuse(item, exc)
            return
        if mark.strikes >= STRIKES_TO_DIE or mark.deliveries >= MOST_DELIVERIES:
            error = DeliveredTooOftenError(deliveries=mark.deliveries, strikes=mark.strikes)
            self._refuse(item, error)
            return
        if no_ack:
            self.lease.done(item.tag)
        else:
            message.queue = item.queue
            self.qos.append(message, item.tag)
            if mark is not UNMARKED:
                if mark.strikes >= STRIKES_TO_RUN_ALONE:
                    self.qos.alone = item.tag
                # Before the next one, the loop acknowledges what is done.
                self.intake.end_slice()
        callback(message)

    def _refuse(self, item: Item, error: Exception) -> None:
        refuse = getattr(self.connection.client, "refuse", None)
        try:
            if refuse is None:
                logger.error("a message on %s goes back, no consumer can take it: %s", item.queue, error_line(error))
            else:
                refuse(item, error)
        # What cannot be refused stays on its queue, and the worker goes on.
        except Exception:
            logger.exception("a message on %s goes back, it cannot be refused", item.queue)
        # If its outcome was recorded, there is nothing to give back.
        self.lease.put_back([item.tag], "returned", at_once=False)

    # What kombu asks of a channel.

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], *args: Any, **options: Any
    ) -> Any:
        consumer = super().basic_consume(queue, no_ack, callback, *args, **options)
        self._receivers[queue] = callback, no_ack
        if queue not in self.active_fanout_queues:
            if self.hands_out_waiting:
                self._hasten(queue)
            if not no_ack:
                self.lease.start()
        return consumer

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        cancelled = super()._basic_cancel(consumer_tag)
        self._receivers.pop(queue, None)
        if queue is not None and not self._receivers:
            # A warm shutdown may take long: what it will not run goes back before it waits.
            self.intake.put_back_undelivered()
        return cancelled

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """Take one message at once."""
        lease = self.lease
        while True:
            item = self.intake.take_one(queue)
            if item is None:
                return None
            taken: list[Any] = []
            kept = self._receivers.get(queue)
            self._receivers[queue] = taken.append, no_ack
            try:
                self.deliver(item)
            finally:
                if kept is None:
                    del self._receivers[queue]
                else:
                    self._receivers[queue] = kept
            if taken:
                if no_ack:
                    lease.flush()
                return taken[0]

    def _read_fetch(self, **_options: Any) -> bool:
        return self.intake.read()

    def _read_wakeup(self) -> bool:
        return self.intake.woken()

    def _receive(self) -> bool:
        self._heard_at, self._asked_at = time.monotonic(), None
        heard: bool = super()._receive()
        return heard

    def check_listening(self) -> None:
        """Connect anew for remote control and events if that connection gives no sign of life.

        It is asked by subscribing again: a PING may be refused.
        """
        connection, now = self._in_listen, time.monotonic()
        if not connection:
            self._heard_at, self._asked_at = now, None
        elif self._asked_at is not None:
            if now - self._asked_at > _LISTENING_LATE_S:
                logger.warning("remote control is connected anew, its connection to Redis does not answer")
                self._asked_at = None
                connection.disconnect()
        elif now - self._heard_at > _LISTENING_ASKED_S:
            self._asked_at = now
            self._subscribe()

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Kombu's poller never gets here: the intake decides when to fetch."""

    def close(self) -> None:
        """Give back what was fetched and not delivered, then close as kombu does."""
        if not self.closed:
            # Before kombu reads what is on its way as if it were its own.
            if self._qos is not None:
                self._qos.restore_unacked_once()
            self.intake.put_back_undelivered()
            self.intake.close()
        super().close()


class Channel(FetchingChannel):
    """Of one Redis."""

    connection_class = RedisConnection
    connection_class_ssl = RedisSSLConnection


class SecureChannel(FetchingChannel):
    """Of one Redis, over TLS: with the options of the URL or of `broker_use_ssl`, without any as redis-py has it."""

    # Kombu looks for the scheme `rediss` only where it is the transport's name.
    connection_class = connection_class_ssl = RedisSSLConnection


class SentinelChannel(FetchingChannel, stock.SentinelChannel):
    """Of the master that Redis Sentinel names."""

    from_transport_options = (*_known(stock.SentinelChannel), *_OPTIONS)
