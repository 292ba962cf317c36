"""What is done for a channel in each turn of the event loop: deliver, acknowledge, fetch."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import redis

from routemq.lifecycle.moves import Alone
from routemq.queues import Keys
from routemq.refusals import explain
from routemq_transport.fetching.consumers import Consumers
from routemq_transport.fetching.fetcher import MOST_PER_FETCH, Fetched, Fetcher
from routemq_transport.fetching.pace import Pace
from routemq_transport.fetching.room import Appetite
from routemq_transport.fetching.wakeup import WakeUp
from routemq_transport.items import Item

logger = logging.getLogger(__name__)

SLICE_S = 0.050
"""In the solo pool to deliver is to run: after this long the event loop has its turn, for remote control."""

REPLY_TIMEOUT_S = 10.0
"""A fetch does not wait for messages: a reply that takes longer is not coming."""

_SOON_S = 0.010
_AT_ONCE_S = 0.0001
"""For a timer. Kombu's hub sleeps for a second when ten timers in a row are due at once, so not zero."""


class Intake:
    """Moves messages from Redis to a channel's consumers, as many as its prefetch window has room for.

    Args:
        clock: Seconds that never jump.

    Attributes:
        pace: When to fetch.
        delivered: How many messages were handed to consumers.
    """

    def __init__(self, channel: Consumers, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel, self._clock = channel, clock
        self._fetcher, self._single = Fetcher(keys, clock=clock), Fetcher(keys, clock=clock)
        self.pace = Pace(clock)
        self._appetite = Appetite(clock)
        self._solitude = self._appetite.solitude
        self._arrived: deque[Item] = deque()
        self._alone: Item | None = None
        self._wakeup: WakeUp | None = None
        self._sent_at: float | None = None
        self._delivering = self._slice_ended = False
        self.delivered = 0

    @property
    def wakeup(self) -> WakeUp | None:
        """The connection that wakes this channel; None before it was idle for the first time."""
        return self._wakeup

    def turn(self) -> None:
        """Do what is due: deliver, acknowledge, fetch. Called in every turn of the event loop."""
        channel = self._channel
        if self._arrived and not channel.delivers_one_by_one:
            self._deliver(most=MOST_PER_FETCH)
        if channel.has_lease:
            due_in_s = channel.lease.acks_due_in_s
            if due_in_s is not None and due_in_s <= 0:
                channel.lease.flush()
                due_in_s = channel.lease.acks_due_in_s
            if due_in_s is not None:
                channel.turn_in(due_in_s)
        if self._sent_at is None and channel.active_queues:
            self._fetch()
        if self._arrived:
            channel.turn_in(_AT_ONCE_S)

    def read(self) -> bool:
        """Read the reply of a fetch and deliver; True if a message was delivered."""
        channel = self._channel
        connection = channel.fetching_connection
        try:
            fetched = self._fetcher.read(connection)
        except redis.exceptions.NoScriptError:
            self._ended_fetch()
            return False
        except redis.ResponseError as exc:
            self._ended_fetch()
            why = explain(exc)
            if self.pace.refused(why):
                logger.error("no messages are handed out, trying again: %s", why)
            return False
        except channel.connection_errors:
            connection.disconnect()
            raise
        self._ended_fetch()
        if fetched.untold is not None and self._wakeup is not None:
            self._wakeup.give_up(fetched.untold)
        self._appetite.note(fetched, held_bytes=channel.lease.held_bytes if fetched.too_large else 0)
        if fetched.items:
            channel.served(fetched.items[-1].queue)
            self._take(fetched)
        self.pace.found(fetched, is_told=self._wakeup is not None and self._wakeup.works)
        before = self.delivered
        self.turn()
        return self.delivered > before

    def woken(self) -> bool:
        """Read the wake-up connection; look at once if something changed."""
        if self._wakeup is not None and self._wakeup.read():
            self.pace.woken()
            self.turn()
        return False

    def check(self) -> None:
        """Give up connections that do not answer.

        Raises:
            redis.ConnectionError: A connection is half open.
        """
        connection = self._channel.fetching_connection
        late = self._sent_at is not None and self._clock() - self._sent_at > REPLY_TIMEOUT_S
        if late and connection is not None and not connection.can_read(timeout=0):
            connection.disconnect()
            raise redis.ConnectionError(f"no answer to a fetch for {REPLY_TIMEOUT_S:g} s")
        if self._wakeup is not None:
            self._wakeup.check()

    def take_one(self, queue: str) -> Item | None:
        """Fetch one message of one queue and wait for the reply."""
        channel = self._channel
        connection = channel.pool.get_connection()
        try:
            alone: Alone = "left" if channel.qos.in_hand else "first"
            fetched = self._single.fetch(connection, channel.turn_of(queue), alone=alone)
        finally:
            channel.pool.release(connection)
        channel.lease.hold(fetched.items)
        return fetched.items[0] if fetched.items else None

    def put_back_undelivered(self) -> int:
        """Give back what was fetched and not delivered, also if the reply is still on its way; return how much."""
        channel = self._channel
        if self._sent_at is not None:
            try:
                self._take(self._fetcher.read(channel.fetching_connection))
            except (redis.RedisError, OSError, AttributeError):
                # Without its reply, every tag that it may have used is given back.
                channel.lease.put_back(self._fetcher.unanswered(), "unread")
            self._ended_fetch()
        items = list(self._arrived) if self._alone is None else [*self._arrived, self._alone]
        self._arrived.clear()
        self._alone = None
        channel.qos.waiting = 0
        self._give_back(items)
        return len(items)

    def lost_connection(self) -> None:
        """The connection of the fetch is gone: what the lost reply held is given back."""
        if self._sent_at is not None:
            self._ended_fetch()
            tags = self._fetcher.unanswered()
            if tags:
                self._channel.lease.put_back(tags, "unread")

    def deliver_one(self) -> bool:
        """Deliver the next message that has arrived; False when there is none."""
        before = self.delivered
        self._deliver(most=1)
        return self.delivered > before

    def end_slice(self) -> None:
        """Deliver nothing more in this turn of the event loop."""
        self._slice_ended = True

    def close(self) -> None:
        """Disconnect the wake-up connection."""
        if self._wakeup is not None:
            self._wakeup.disconnect()

    def _fetch(self) -> None:
        channel = self._channel
        hands = channel.qos
        if self._arrived:
            return
        if self._alone is not None:
            self._wait_for_empty_hands(self._alone)
            return
        # First the room, which the pace may change in between: a fetch of nothing would say that there is more.
        window = hands.can_consume_max_estimate()
        if window == 0 or not hands.can_consume():
            if hands.in_hand < (hands.prefetch_count or 0):
                channel.turn_in(_SOON_S)
            return
        due_in_s = self.pace.due_in_s
        if due_in_s > 0:
            channel.turn_in(due_in_s)
            return
        room = self._appetite.room(
            in_hand=hands.in_hand,
            held_bytes=channel.lease.held_bytes,
            window=window,
            all_run=lambda: hands.all_run,
        )
        if room is None:
            channel.turn_in(_SOON_S)
            return
        told = self.pace.may_sleep and self._listen()
        connection = channel.fetching_connection
        if told and self._wakeup is not None:
            self._wakeup.track(connection)
            told = self._wakeup.works
        self.pace.sent()
        lease = channel.lease
        marks = lease.will_start_soon(room.messages, hands_are_empty=not hands.in_hand)
        self._fetcher.send(connection, channel.next_turn(), room, told=told, marks=marks, in_turn=lease.in_turn)
        self._sent_at = self._clock()
        channel.mark_polled(connection)

    def _take(self, fetched: Fetched) -> None:
        self._channel.lease.hold(fetched.items, marked=fetched.marked)
        items = fetched.items
        if fetched.alone == "last":
            *items, self._alone = items
            self._solitude.taken()
        self._arrived.extend(items)
        self._channel.qos.waiting = len(self._arrived)

    def _give_back(self, items: Sequence[Item]) -> None:
        if items:
            self._channel.lease.put_back([item.tag for item in items], "unread")
            self._channel.given_back(item.queue for item in items)

    def _wait_for_empty_hands(self, item: Item) -> None:
        hands, delay_s = self._channel.qos, _AT_ONCE_S
        if not hands.in_hand:
            self._alone = None
            self._arrived.append(item)
            self._solitude.ran()
        elif self._solitude.is_in_vain(slots_wait=hands.all_run):
            self._alone = None
            self._give_back([item])
            self._solitude.given_back()
        else:
            delay_s = _SOON_S
        self._channel.turn_in(delay_s)

    def _listen(self) -> bool:
        if self._wakeup is None:
            self._wakeup = WakeUp(self._channel.async_pool, clock=self._clock)
        if not self._wakeup.works:
            return False
        self._wakeup.connect()
        if self._wakeup.works:
            self._channel.poll_wakeup(self._wakeup)
        return self._wakeup.works

    def _deliver(self, *, most: int) -> None:
        if self._delivering:
            # In the solo pool a task runs inside a delivery, and may turn the loop of its own connection.
            return
        self._delivering = True
        arrived, channel, clock = self._arrived, self._channel, self._clock
        hands, deliver = channel.qos, channel.deliver
        until = clock() + SLICE_S
        try:
            while arrived:
                item = arrived.popleft()
                hands.waiting = len(arrived)
                deliver(item)
                self.delivered += 1
                most -= 1
                if not most or self._slice_ended or clock() >= until:
                    break
        finally:
            self._slice_ended = False
            self._delivering = False

    def _ended_fetch(self) -> None:
        self._sent_at = None
        self._channel.mark_polled(None)
