"""When a channel fetches, delivers and acknowledges."""

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import redis

from routemq.lifecycle.moves import Alone
from routemq.pauses import Pauses
from routemq.refusals import explain
from routemq_transport.fetcher import MOST_PER_FETCH, Fetched, Fetcher, Turn
from routemq_transport.items import Item
from routemq_transport.room import MOST_BYTES, Room, Solitude
from routemq_transport.wakeup import WakeUp

if TYPE_CHECKING:
    from routemq_transport.upstream.channel import FetchingChannel

logger = logging.getLogger(__name__)

SLICE_S = 0.050
"""In the solo pool to deliver is to run: after this long the event loop has its turn, for remote control."""

IDLE_S = 1.0
"""An idle worker looks for itself this often, should a wake-up be lost."""

IDLE_UNTOLD_S = 0.05
"""The same with a Redis that does not tell."""

REPLY_TIMEOUT_S = 10.0
"""A fetch does not wait for messages: a reply that takes longer is not coming."""

_AT_ONCE_S = 0.0001
"""For a timer. Kombu's hub sleeps for a second when ten timers in a row are due at once, so not zero."""


class Intake:
    """Moves messages from Redis to a channel's consumers, as many as its prefetch window has room for."""

    def __init__(self, channel: "FetchingChannel", fetcher: Fetcher) -> None:
        self._channel, self._fetcher = channel, fetcher
        self._single = Fetcher(channel.keys)
        self._arrived: deque[Item] = deque()
        self._wakeup: WakeUp | None = None
        self._sent_at: float | None = None
        self._not_before = 0.0
        self._found_all = True
        self._changed = False
        self._solitude = Solitude()
        self._alone: Item | None = None
        self._full_at_bytes: int | None = None
        self._refusals = Pauses()
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
                self._again_in(due_in_s)
        if self._sent_at is None and channel.active_queues:
            self._fetch()
        if self._arrived:
            self._again_in(_AT_ONCE_S)

    def read(self) -> bool:
        """Read the reply of a fetch and deliver."""
        channel = self._channel
        connection = channel.client.connection
        try:
            fetched = self._fetcher.read(connection)
        except redis.exceptions.NoScriptError:
            self._ended_fetch()
            return False
        except redis.ResponseError as exc:
            self._ended_fetch()
            self._not_before = time.monotonic() + self._refusals.next_s()
            why = explain(exc)
            if self._refusals.speak(why):
                logger.error("no messages are handed out, trying again: %s", why)
            return False
        except channel.connection_errors:
            connection.disconnect()
            raise
        self._ended_fetch()
        self._refusals.over()
        self._note_room(fetched)
        if fetched.items:
            channel.served(fetched.items[-1].queue)
            self._take(fetched)
            self._not_before = 0.0
        elif fetched.too_large:
            self._not_before = 0.0
        else:
            idle_s = IDLE_S if self._wakeup is not None and self._wakeup.works else IDLE_UNTOLD_S
            if fetched.next_due_s is not None:
                idle_s = min(idle_s, fetched.next_due_s)
            if not self._found_all or self._changed:
                # The first look at empty queues was not told to Redis; the next one is. And what came between a look
                # and the reading of its reply has been told already, and is not told again.
                idle_s = 0.0
            self._not_before = max(self._not_before, time.monotonic() + idle_s)
        self._found_all = fetched.complete
        if not fetched.complete:
            channel.qos.filled_at = time.monotonic()
        before = self.delivered
        self.turn()
        return self.delivered > before

    def woken(self) -> bool:
        """Read the wake-up connection; look at once if something changed."""
        if self._wakeup is not None and self._wakeup.read():
            self._not_before = 0.0
            self._changed = True
            self.turn()
        return False

    def check(self) -> None:
        """Give up connections that do not answer.

        Raises:
            redis.ConnectionError: A connection is half open.
        """
        connection = self._channel.client.connection
        late = self._sent_at is not None and time.monotonic() - self._sent_at > REPLY_TIMEOUT_S
        if late and connection is not None and not connection.can_read(timeout=0):
            connection.disconnect()
            raise redis.ConnectionError(f"no answer to a fetch for {REPLY_TIMEOUT_S:g} s")
        if self._wakeup is not None:
            self._wakeup.check()

    def take_one(self, queue: str) -> Item | None:
        """Fetch one message of one queue and wait for the reply."""
        channel = self._channel
        pool = channel.pool
        connection = pool.get_connection()
        turn = Turn(queues=(queue,), priorities=tuple(channel.priority_steps), fair=True)
        try:
            fetched = self._single.fetch(connection, turn, alone="left" if channel.qos.in_hand else "first")
        finally:
            pool.release(connection)
        channel.lease.hold(fetched.items)
        return fetched.items[0] if fetched.items else None

    def put_back_undelivered(self) -> int:
        """Give back what was fetched and not delivered, also if the reply is still on its way; return how much."""
        channel = self._channel
        if self._sent_at is not None:
            connection = channel.client.connection
            try:
                fetched = self._fetcher.read(connection)
                self._take(fetched)
            except (redis.RedisError, OSError, AttributeError):
                # Without its reply, every tag that it may have used is given back.
                channel.lease.put_back(self._fetcher.unanswered(), "unread")
            self._ended_fetch()
        items = list(self._arrived) if self._alone is None else [*self._arrived, self._alone]
        self._arrived.clear()
        self._alone = None
        channel.qos.waiting = 0
        if items:
            channel.lease.put_back([item.tag for item in items], "unread")
            channel.given_back(item.queue for item in items)
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
        qos = channel.qos
        if self._arrived:
            return
        if self._alone is not None:
            self._wait_for_empty_hands(self._alone)
            return
        if not qos.can_consume():
            if qos.in_hand < (qos.prefetch_count or 0):
                self._again_in(0.010)
            return
        now = time.monotonic()
        if now < self._not_before:
            self._again_in(self._not_before - now)
            return
        room = self._room()
        if room is None:
            self._again_in(0.010)
            return
        told = self._found_all and self._listen()
        connection = channel.connected_client().connection
        if told and self._wakeup is not None:
            self._wakeup.track(connection)
            told = self._wakeup.works
        self._changed = False
        mark = channel.lease.will_start_soon(room.messages)
        self._fetcher.send(connection, channel.next_turn(), room, told=told, mark=mark)
        self._sent_at = now
        channel.mark_polled(connection)

    def _room(self) -> Room | None:
        """Return what there is room for; None when there is none before something in hand is done."""
        qos, lease = self._channel.qos, self._channel.lease
        held_bytes, waits = lease.held_bytes, bool(qos.in_hand)
        if held_bytes >= (MOST_BYTES if self._full_at_bytes is None else self._full_at_bytes):
            waits = not qos.all_run
            if waits:
                return None
        window = qos.can_consume_max_estimate()
        return Room(
            messages=MOST_PER_FETCH if window is None else min(window, MOST_PER_FETCH),
            bytes=MOST_BYTES - held_bytes,
            waits=waits,
            alone=self._alone_wanted(),
        )

    def _alone_wanted(self) -> Alone:
        if not self._channel.qos.in_hand:
            return "first"
        return "last" if self._solitude.may_wait else "left"

    def _note_room(self, fetched: Fetched) -> None:
        self._full_at_bytes = self._channel.lease.held_bytes if fetched.too_large else None
        if fetched.alone == "left":
            self._solitude.left()
        elif fetched.complete:
            self._solitude.none_left()

    def _take(self, fetched: Fetched) -> None:
        self._channel.lease.hold(fetched.items, marked=fetched.marked)
        items = fetched.items
        if fetched.alone == "last":
            *items, self._alone = items
            self._solitude.taken()
        self._arrived.extend(items)
        self._channel.qos.waiting = len(self._arrived)

    def _wait_for_empty_hands(self, item: Item) -> None:
        qos, delay_s = self._channel.qos, _AT_ONCE_S
        if not qos.in_hand:
            self._alone = None
            self._arrived.append(item)
            self._solitude.ran()
        elif self._solitude.is_in_vain(slots_wait=qos.all_run):
            self._alone = None
            self._channel.lease.put_back([item.tag], "unread")
            self._channel.given_back([item.queue])
            self._solitude.given_back()
        else:
            delay_s = 0.010
        self._again_in(delay_s)

    def _listen(self) -> bool:
        if self._wakeup is None:
            self._wakeup = WakeUp(self._channel.async_pool)
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
        until = time.monotonic() + SLICE_S
        arrived, channel = self._arrived, self._channel
        try:
            while arrived:
                item = arrived.popleft()
                channel.qos.waiting = len(arrived)
                channel.deliver(item)
                self.delivered += 1
                most -= 1
                if not most or self._slice_ended or time.monotonic() >= until:
                    break
        finally:
            self._slice_ended = False
            self._delivering = False

    def _ended_fetch(self) -> None:
        self._sent_at = None
        self._channel.mark_polled(None)

    def _again_in(self, delay_s: float) -> None:
        self._channel.turn_in(delay_s)
