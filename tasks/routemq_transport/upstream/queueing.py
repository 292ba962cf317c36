"""kombu's Redis channel as a keeper of queues: put, counted, purged, with what waits for its time; its clients."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import redis
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from routemq.lifecycle.moves import Moves
from routemq.pauses import Pauses
from routemq.queues import Keys
from routemq.refusals import explain
from routemq_transport.upstream.listening import ListeningChannel

logger = logging.getLogger(__name__)

_ANSWERS = ".pidbox"
"""Ends the name of every queue for answers to remote control."""

_ALLOW_OOM = "#!lua flags=allow-oom\n"


class QueueingChannel(ListeningChannel):
    """Keeps what has a time in Redis, beside its queue, and gets along with a Redis that is full."""

    # Kombu waits for ever on a connection that is half open.
    socket_timeout = 5.0
    socket_connect_timeout = 5.0
    socket_keepalive = True
    # No PING: see `ModestClient`.
    health_check_interval = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self._publishing_client: Any = None
        self._binding_refusals, self._bindings_not_before = Pauses(), 0.0
        super().__init__(*args, **options)

    def _get_client(self) -> Any:
        prefix = self.global_keyprefix
        return partial(PrefixedClient, global_keyprefix=prefix) if prefix else ModestClient

    @cached_property
    def keys(self) -> Keys:
        """The Redis keys, complete."""
        return Keys(self.global_keyprefix, self.unacked_key, self.unacked_index_key, self.sep)

    def given_back(self, queues: Iterable[str]) -> None:
        """Messages are back on these queues: one that expires, and was empty meanwhile, must expire again."""
        for queue in self._expires.keys() & set(queues):
            # It is Redis that forgets the queue; while it is away there is nothing to do.
            with suppress(redis.RedisError), self.conn_or_acquire() as client:
                self._maybe_update_queues_expire(client, queue)

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        """Queue a message, or let it wait in Redis when it has a time."""
        if queue.endswith(_ANSWERS):
            self._put_answer(keys=[queue], args=[dumps(message)])
            return
        due = due_time(message)
        if due is None:
            super()._put(queue, message, **options)
            return
        name = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        # The client puts the prefix before it.
        key, entry = Keys().delayed(name), {dumps(message): due}
        batch = options.get("_publish_batch")
        if batch is not None:
            batch.add("zadd", key, entry)
            return
        with self.conn_or_acquire() as client:
            client.zadd(key, entry)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Give a client of the channel's pool; kombu makes one for each command, which costs more than the command."""
        if client is None:
            if self._publishing_client is None:
                self._publishing_client = self._create_client()
            client = self._publishing_client
        yield client

    def _disconnect_pools(self) -> None:
        # After a fork, too: the client's pool is the parent's.
        self._publishing_client = None
        super()._disconnect_pools()

    def _size(self, queue: str) -> int:
        """Count what waits, also for its time."""
        return sum(self._counted(queue).values())

    def _has_queue(self, queue: str, **_options: Any) -> bool:
        return bool(self._size(queue))

    def _counted(self, queue: str) -> dict[str, int]:
        """Return what is in each of a queue's keys; one that is another application's is not among them."""
        names = [self._q_for_pri(queue, priority) for priority in self.priority_steps]
        lists, delayed = [self.keys.prefix + name for name in names], [self.keys.delayed(name) for name in names]
        with self._plain_client().pipeline() as pipe:
            for key in lists:
                pipe.llen(key)
            for key in delayed:
                pipe.zcard(key)
            counts = pipe.execute(raise_on_error=False)
        return {key: count for key, count in zip(lists + delayed, counts, strict=True) if isinstance(count, int)}

    def _hasten(self, queue: str) -> None:
        moves = Moves(self._plain_client(), self.keys)
        for priority in self.priority_steps:
            while moves.hasten(self._q_for_pri(queue, priority)):
                pass

    def _plain_client(self) -> "redis.Redis":
        """Return a client for complete keys: kombu's puts the prefix before those of some commands."""
        return ModestClient(connection_pool=self.pool)

    def _queue_bind(self, *args: Any) -> None:
        # What goes by PUB/SUB needs no binding: a full Redis must not keep a worker from starting for want of it.
        with suppress(redis.exceptions.OutOfMemoryError):
            super()._queue_bind(*args)

    # Remote control is answered by a full Redis too: a worker that drains it must not be taken for dead.

    @cached_property
    def _refresh_binding(self) -> Any:
        script = self._create_client().register_script(f"{_ALLOW_OOM}{stock.REFRESH_BINDING}")

        def refresh(*, keys: Sequence[str], args: Sequence[Any], client: Any) -> None:
            # Never in kombu's pipeline, before which redis-py asks SCRIPT EXISTS: a user may not be allowed that.
            del client
            script(keys=keys, args=args)

        return refresh

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep the bindings of queues that expire; while Redis refuses, kombu tries in each turn, with a traceback."""
        if time.monotonic() < self._bindings_not_before:
            return
        try:
            super().maybe_refresh_binding_expiry()
        except redis.ResponseError as exc:
            self._bindings_not_before = time.monotonic() + self._binding_refusals.next_s()
            why = explain(exc)
            if self._binding_refusals.speak(why):
                logger.warning("the bindings of queues that expire, such as remote control's, are not kept: %s", why)
        else:
            self._binding_refusals.over()

    @cached_property
    def _put_answer(self) -> Any:
        return self._create_client().register_script(f"{_ALLOW_OOM}return redis.call('LPUSH', KEYS[1], ARGV[1])")

    def _purge(self, queue: str) -> int:
        """Remove what waits, also for its time."""
        counted = self._counted(queue)
        if counted:
            self._plain_client().delete(*counted)
        return sum(counted.values())

    def _delete(self, queue: str, *binding: Any, **options: Any) -> None:
        """Remove the queue with what waits for its time."""
        self._purge(queue)
        super()._delete(queue, *binding, **options)

    def restore_other(self, client: "redis.Redis", moves: Moves, tag: str) -> None:
        """Put back what a worker with Celery's own transport lost, where kombu would route it."""
        record = client.hget(self.keys.unacked, tag)
        if not isinstance(record, bytes):
            return
        try:
            message, exchange, routing_key = loads(bytes_to_str(record))
            priority = self._get_message_priority(message, reverse=False)
            lists = [self._q_for_pri(queue, priority) for queue in self._routed(exchange, routing_key)]
            message["headers"]["redelivered"] = True
            message["properties"]["delivery_info"]["redelivered"] = True
        # The record is another program's; one that cannot be read must not end the lease's thread.
        except Exception:
            logger.exception("cannot restore what another worker held under the tag %r", tag)
            return
        moves.requeue(dumps(message), tag=tag, record=record, lists=lists)

    def _routed(self, exchange: str, routing_key: str) -> Sequence[str]:
        queues: Sequence[str] = self._lookup(exchange, routing_key)
        return queues


class _Modest:
    """kombu's Redis client, which asks no more of a server than to be there."""

    connection_pool: Any

    def ping(self, **_options: Any) -> bool:
        """Connect: kombu asks so whether a server is there.

        A user may not be allowed PING, and a server whose disk is full refuses it to all.
        """
        self.connection_pool.release(self.connection_pool.get_connection())
        return True

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Send the commands together, but never in a MULTI, in which a full server refuses even to count or delete.

        None of kombu's needs one: each is declared, counted or deleted again as well.
        """
        return super().pipeline(False, shard_hint)  # type: ignore[misc]  # of the client that this is mixed into


class ModestClient(_Modest, redis.Redis):
    """Without a key prefix."""


class PrefixedClient(_Modest, stock.PrefixedStrictRedis):
    """With kombu's `global_keyprefix`."""


def due_time(message: Any) -> float | None:
    """Return Unix seconds, or None for a message that is due at once."""
    headers = message.get("headers")
    eta = headers.get("eta") if isinstance(headers, dict) else None
    if not isinstance(eta, str):
        return None
    try:
        due = datetime.fromisoformat(eta)
    except ValueError:
        # Celery refuses it on arrival, and says so there.
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=UTC)
    return due.timestamp()
