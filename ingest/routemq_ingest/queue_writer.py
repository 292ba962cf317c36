"""The one place where ingest writes messages to Redis."""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import redis

from routemq.connections import check_redis
from routemq.dead_letters import DeadLetter, DeadLetters, Reason
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq.eviction import EvictionWatch
from routemq.lifecycle.moves import EnqueueCommand, Moves
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.queues import Keys
from routemq.refusals import code_of
from routemq.text import error_line
from routemq.upstream.redis_connection import RedisConnection
from routemq_ingest.batch import MAX_MESSAGES, Entry
from routemq_ingest.errors import BreaksConnectionError
from routemq_ingest.remains import Remains

logger = logging.getLogger(__name__)

_TRIES = 3
"""A message breaks the connection so often, with Redis well in between, before it is taken for the reason."""
_SMALL_BYTES = 65_536
"""The size of no message of so few bytes is the reason: it can be kept whole."""


class Sent(NamedTuple):
    """What became of entries that were to be sent.

    Attributes:
        taken: How many are in Redis now, from the front.
        lengths: How long the queues are that got something.
    """

    taken: int
    lengths: dict[str, int]


class QueueWriter:
    """Sends messages in one round trip, and dead letters in another, and finds the one that Redis cannot take.

    Used by one thread at a time. `send` and `look` wait for Redis; `begin` and `finish` do not, and are for a loop.

    Args:
        quick: Of the same Redis, with a short timeout; what it sends must be taken at once.
        client_id: Of this process's own MQTT session; no other process may have it.
        remains: Makes a letter of what Redis cannot take as it is.
        plain: Buries such a letter, by nothing but our own code.
        eviction: Nothing is queued, and so acknowledged, while Redis may throw it away.
    """

    def __init__(
        self,
        client: "redis.Redis",
        keys: Keys,
        dead_letters: DeadLetters,
        *,
        quick: "redis.Redis",
        client_id: str,
        remains: Remains,
        plain: DeadLetters,
        eviction: EvictionWatch,
    ) -> None:
        self._client, self._quick, self._client_id = client, quick, client_id
        self._line: RedisConnection | None = None
        self._begun: tuple[str, ...] = ()
        self._dead_letters, self._plain, self._remains = dead_letters, plain, remains
        self._eviction = eviction
        self._moves = Moves(client, keys)
        self._enqueue = EnqueueCommand(client, keys, sender=client_id)
        self._checked = False
        self._most = MAX_MESSAGES
        self._part: Sequence[Entry] = ()
        self._number = ""
        self._tries = 0

    def look(self, queues: Sequence[str]) -> dict[str, int]:
        """See whether Redis would take messages for these queues; return how long they are.

        Raises:
            ConfigurationError: This Redis cannot be used.
            EvictionError: It may throw messages away by now.
            redis.RedisError: It does not answer, or refuses.
        """
        if not self._checked:
            check_redis(self._client)
            self._eviction.start()
            self._checked = True
        self._eviction.look()
        lengths = self._moves.enqueue(dict.fromkeys(queues, ()), received={}, sender=self._client_id, number="")
        self._prepare()
        return lengths

    def send(self, entries: Sequence[Entry]) -> Sent:
        """Queue and bury the first of these, as many as Redis takes at once.

        What cannot be taken for its own sake is buried instead, if need be without its payload: no message may hold up
        those behind it for ever.

        Raises:
            Exception: Nothing was queued, and no message is to blame. What was buried is buried once, however often it
                is sent.
        """
        self._eviction.look()
        while True:
            if not self._part:
                self._part, self._number, self._tries = entries[: self._most], uuid.uuid4().hex, 0
            # The same as before while it is not known what became of it: Redis knows it by its number.
            part = self._part
            try:
                lengths = self._put(part)
            # Whatever it is, it may be of one message: a hook that redacts dead letters may even end the process.
            except BaseException as exc:
                if _is_of_redis(exc):
                    raise
                self.look([queue for _, queue, _, letter, _, _ in part if letter is None])
                self._tries += 1
                if _breaks(exc) and self._tries < _TRIES:
                    raise BreaksConnectionError(messages=len(part), error=exc) from exc
                if len(part) > 1:
                    self._part, self._most = (), len(part) // 2
                    continue
                if self._tries < _TRIES:
                    # Somebody may have killed the script, or it met what has passed.
                    continue
                self._bury(part[0], exc)
                lengths = {}
            self._prepare()
            return self._sent(lengths)

    def begin(self, entries: Sequence[Entry]) -> bool:
        """Send the first of these to a Redis that is there; False when it may have to be waited for, or takes more.

        Then it is for `send`; also later, when `finish` raises or is not to be waited for any longer: it is known by
        its number, and taken once.
        """
        line = self._line
        if line is None or not line.is_usable or self._part or not self._checked or self._eviction.is_due:
            return False
        part = entries[: self._most]
        queues, received = _sorted(part)
        if sum(received.values()) < len(part):
            return False
        self._part, self._number, self._tries = part, uuid.uuid4().hex, 0
        try:
            command = self._enqueue.command(queues, received=received, number=self._number)
            line.send_packed_command(line.pack_command(*command), check_health=False)  # type: ignore[no-untyped-call]
        # It may be of a message, or of Redis: `send` finds out.
        except Exception as exc:  # noqa: BLE001
            logger.debug("not sent at once: %s", error_line(exc))
            self.drop()
            return False
        self._begun = tuple(queues)
        return True

    def fileno(self) -> int:
        """Where the answer to `begin` comes, for `poll`; -1 when none will."""
        return -1 if self._line is None else self._line.fileno()

    def finish(self) -> Sent:
        """Read the answer to `begin`, which is there.

        Raises:
            Exception: It is none, or not that of messages taken.
        """
        if self._line is None:
            raise redis.ConnectionError("there is no connection")
        try:
            lengths = self._enqueue.lengths(self._begun, self._line.read_response())
        except BaseException:
            self.drop()
            raise
        return self._sent(lengths)

    def drop(self) -> None:
        """Wait for no answer to `begin`."""
        line, self._line = self._line, None
        if line is not None:
            line.disconnect()  # type: ignore[no-untyped-call]
            self._quick.connection_pool.release(line)

    def close(self) -> None:
        """Wait for nothing, and begin nothing."""
        self.drop()
        self._quick.close()

    def _prepare(self) -> None:
        """Have a connection for `begin`; without one, `send` does it all."""
        line = self._line
        if line is not None and line.is_usable:
            return
        self.drop()
        try:
            self._line = cast("RedisConnection", self._quick.connection_pool.get_connection())
        except (redis.RedisError, OSError) as exc:
            logger.debug("no second connection to redis: %s", error_line(exc))

    def _sent(self, lengths: dict[str, int]) -> Sent:
        count = len(self._part)
        self._part, self._most = (), min(MAX_MESSAGES, 2 * self._most)
        return Sent(count, lengths)

    def _put(self, entries: Sequence[Entry]) -> dict[str, int]:
        queues, received = _sorted(entries)
        if dead := [(letter, item) for _, _, item, letter, _, _ in entries if letter is not None]:
            self._dead_letters.bury_direct(dead)
        if not queues:
            return {}
        return self._moves.enqueue(queues, received=received, sender=self._client_id, number=self._number)

    def _bury(self, entry: Entry, error: BaseException) -> None:
        """Bury what Redis does not take: whole, or what is known of it, or that it was there; the first that goes."""
        for make, store in self._letters(entry, error):
            try:
                kept, raw = make()
                store.bury_direct([(kept, raw)])
            # It may be refused again, for whatever is in it; of the last one nothing is the message's own.
            except BaseException as exc:
                if _is_of_redis(exc) or (store is self._plain and _breaks(exc)):
                    raise
                logger.debug("a message cannot be buried so: %s", error_line(exc))
                error = exc
                continue
            if store is self._plain:
                logger.error(
                    "message buried without its payload: %s (letter %s)", kept.error, kept.id,
                    extra={"route": kept.route, "message_id": kept.task_id},
                )  # fmt: skip
            return
        raise error

    def _letters(
        self, entry: Entry, error: BaseException
    ) -> Iterator[tuple[Callable[[], tuple[DeadLetter, bytes]], DeadLetters]]:
        """Yield how a message may be buried, each plainer than the one before."""
        route, queue, item, letter, _, _ = entry
        reason: Reason = "too_large" if letter is None else letter.reason
        try:
            message = TaskMessage.decode(item)
        except EnvelopeError:
            pass  # it is what remains of a message already
        else:
            if letter is None and len(item) <= _SMALL_BYTES:
                yield lambda: (self._remains.whole(message, error=error), item), self._dead_letters
            yield lambda: self._remains.letter(message, reason=reason, error=error), self._plain
        yield lambda: self._remains.trace(item, route=route, queue=queue, reason=reason, error=error), self._plain


def _sorted(entries: Sequence[Entry]) -> tuple[dict[str, list[bytes]], dict[str, int]]:
    """Return the items of each queue, and how many each route has; without the dead."""
    queues: dict[str, list[bytes]] = {}
    received: dict[str, int] = {}
    for route, queue, item, letter, _, _ in entries:
        if letter is not None:
            continue
        received[route] = received.get(route, 0) + 1
        if queue in queues:
            queues[queue].append(item)
        else:
            queues[queue] = [item]
    return queues, received


def _is_of_redis(error: BaseException) -> bool:
    """Whether it is the word of a Redis that would take no message now."""
    if isinstance(error, UnusableKeyError):
        return True
    return isinstance(error, redis.RedisError) and code_of(error) not in ("", "ERR")


def _breaks(error: BaseException) -> bool:
    """Whether a connection ended over it."""
    return isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError))
