"""Which messages have started, told to Redis before their tasks run, without waiting for an answer."""

import logging
import threading
import time
from collections.abc import Collection, Iterable
from typing import Any

import redis

from routemq.lifecycle.moves import StartCommand

logger = logging.getLogger(__name__)

SOON_S = 0.05
"""What is likely to start within this time is marked by the fetch that takes it, all at once."""

NOT_STARTED_S = 0.1
"""What was marked so and has not started after this time waits behind a longer task: its mark is taken back."""

TURN_S = 0.001
"""So long, at the pace of late, a queue has its turn: each more of a step costs Redis as much as another message."""

_PACE_S = 0.02
_SEND_TIMEOUT_S = 1.0


class Starts:
    """The marks of started messages, which make the loss of this worker a strike for them.

    Tasks that take their time are marked one by one, when they start, over a connection that asks for no replies: a
    task waits for one system call, and the kernel sends what it was given even if the task kills this process at once.
    For short tasks that would cost too much: their marks come with the fetch.

    Args:
        pool: Its connections are of the kind to use.
        command: What is sent.
        held: The delivery tags that this worker holds.
    """

    def __init__(self, pool: Any, command: StartCommand, held: Collection[str]) -> None:
        self._pool, self._command, self._held = pool, command, held
        self._connection: Any = None
        self._lock = threading.Lock()
        self._marked: set[str] = set()
        self._to_start: dict[str, float] = {}
        self._count, self._counted_at, self._per_s = 0, 0.0, 0.0
        self._is_told = False

    def connect(self) -> None:
        """Connect, unless that is done and Redis has not hung up.

        Raises:
            redis.RedisError: Redis is away.
        """
        with self._lock:
            # No reply is due: what can be read is the end. Unseen, the first word after a long silence would be lost.
            if self._connection is not None and not _has_ended(self._connection):
                return
            self._disconnect()
            options = self._pool.connection_kwargs | {"socket_timeout": _SEND_TIMEOUT_S}
            connection = self._pool.connection_class(**options)
        # Without the lock: a task that starts meanwhile must not wait for a server that is away.
        connection.connect()
        connection.send_command("CLIENT", "REPLY", "OFF", check_health=False)
        self._connection = connection

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._disconnect()

    def near(self, count: int, *, hands_are_empty: bool) -> int:
        """Return how many of so many messages will start soon, at the pace of late; of few that come, all.

        Args:
            hands_are_empty: Nothing waits or runs here: the first of them starts as it comes.
        """
        now = time.monotonic()
        took_s = now - self._counted_at
        if took_s >= _PACE_S:
            self._per_s = self._count / took_s
            self._count, self._counted_at = 0, now
        soon = min(count, int(self._per_s * SOON_S))
        # A consumer of kombu's starts nothing.
        return max(soon, int(hands_are_empty and self._is_told))

    @property
    def in_turn(self) -> int:
        """How many messages start in the time that a queue has its turn; one of those that take longer."""
        return max(1, int(self._per_s * TURN_S))

    def within(self, time_s: float) -> int:
        """Return how many messages start in so much time, at the pace of late, or of now if that is slower."""
        took_s = time.monotonic() - self._counted_at
        # When runs get slow, much is in hand, and nothing is fetched that would tell.
        per_s = self._per_s if took_s < _PACE_S else min(self._per_s, self._count / took_s)
        return int(per_s * time_s)

    def marked_by_fetch(self, tags: Collection[str]) -> None:
        """The fetch that took these messages has marked them."""
        self._marked.update(tags)
        self._to_start.update(dict.fromkeys(tags, time.monotonic() + NOT_STARTED_S))

    def mark(self, *tags: str) -> None:
        """The task of these messages starts now."""
        self._is_told = True
        unmarked = []
        for tag in tags:
            if self._to_start.pop(tag, None) is not None:
                self._count += 1
            elif tag not in self._marked and tag in self._held:
                self._count += 1
                unmarked.append(tag)
        if not unmarked:
            return
        with self._lock:
            if self._send(unmarked, started=True):
                self._marked.update(unmarked)

    def defer(self, tag: str) -> None:
        """The task of this message was marked, and has not started: its mark goes as those of a fetch do."""
        if tag in self._marked:
            self._to_start[tag] = time.monotonic() + NOT_STARTED_S

    def marked_by_hand(self, tags: Iterable[str]) -> None:
        """Redis knows that these have started."""
        self._marked.update(tags)

    def unmarked(self, tags: Iterable[str]) -> list[str]:
        """Return those of these held messages that have no mark."""
        return [tag for tag in tags if tag in self._held and tag not in self._marked]

    def forget(self, *tags: Iterable[str]) -> None:
        """These messages are not held any more; who took them away took their marks too."""
        self._marked.difference_update(*tags)

    def take_back(self) -> None:
        """Take back the marks of what has not started after all; called now and then."""
        now, to_start = time.monotonic(), self._to_start
        late = [tag for tag, at in list(to_start.items()) if at < now]
        if not late:
            return
        with self._lock:
            # In this order: a task that starts at this moment either finds its tag, or none of its marks, and waits.
            self._marked.difference_update(late)
            started = {tag for tag in late if to_start.pop(tag, None) is None}
            self._marked.update(tag for tag in started if tag in self._held)
            late = [tag for tag in late if tag not in started]
            if late:
                self._send(late, started=False)

    def _send(self, tags: list[str], *, started: bool) -> bool:
        if self._connection is None:
            return False
        try:
            self._connection.send_command(*self._command.arguments(tags, started=started), check_health=False)
        except (redis.RedisError, OSError) as exc:
            logger.debug("start of %d messages not told: %s", len(tags), exc)
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()


def _has_ended(connection: Any) -> bool:
    try:
        return bool(connection.can_read(timeout=0))
    except (redis.RedisError, OSError):
        return True
