"""What Redis knows of the whole fleet at one moment: routes, queues, dead letters, processes, memory."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson
import redis

from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq.metrics.presence import Processes, read_processes
from routemq.metrics.totals import RouteTotals, read_totals
from routemq.paused import Pause, by_route, resting_queues
from routemq.queues import Keys
from routemq.refusals import code_of
from routemq.route import Route
from routemq.text import stored_text

PRIORITY_SEPARATOR = "\x06\x16"
PRIORITY_STEPS = (3, 6, 9)
"""Kombu's: a Celery client that sets priorities uses lists of its own for these, `<queue>\\x06\\x163`."""


_MOST_HELD = 20_000
"""More records than these are not read to tell their queues, since they hold the messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReading:
    """What waits on a queue, and who serves it.

    Attributes:
        waiting: Messages that no worker has taken.
        delayed: Messages whose time has not come, such as retries.
        held: Messages in the hands of workers.
        oldest_at: When the message that is next was received, Unix seconds; None of an empty queue, or of a message
            that another Celery client sent.
        workers: Names of the live workers that consume it, or will when its routes are resumed.
        concurrency: How many messages they run at once; of a worker with several queues, for all of them.
    """

    waiting: int = 0
    delayed: int = 0
    held: int = 0
    oldest_at: float | None = None
    workers: tuple[str, ...] = ()
    concurrency: int = 0

    @property
    def queued(self) -> int:
        """Messages that are not done: waiting, delayed and held."""
        return self.waiting + self.delayed + self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadReading:
    """A route's dead letters.

    Attributes:
        oldest_at: First time of death, Unix seconds; None when there are none.
    """

    count: int = 0
    oldest_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReading:
    """Redis itself.

    Attributes:
        max_memory_bytes: None when it has no limit.
        policy: What it does when its memory is full; None when this user may not ask.
    """

    version: str = ""
    memory_bytes: int = 0
    max_memory_bytes: int | None = None
    policy: str | None = None

    @property
    def memory_share(self) -> float | None:
        """How much of its limit is used, from 0 to 1; None without a limit."""
        return None if not self.max_memory_bytes else self.memory_bytes / self.max_memory_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReading:
    """Everything at one moment.

    Attributes:
        at: Unix seconds by Redis' clock.
        totals: Route → what was counted since the counters began; also of routes that are no more.
        lease_holder: The ingest process that holds the non-shared routes.
        paused: Route → its pause; see `routemq.paused.by_route`.
        resting: Queues that nobody consumes because all of their routes are paused.
        blocked: How many keys under our names another program has.
    """

    at: float
    totals: Mapping[str, RouteTotals]
    queues: Mapping[str, QueueReading]
    dead: Mapping[str, DeadReading]
    full_routes: frozenset[str]
    processes: Processes
    server: ServerReading
    lease_holder: str | None
    paused: Mapping[str, Pause] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()
    blocked: int = 0


def read_fleet(
    client: "redis.Redis", keys: Keys, *, queues: Iterable[str], routes: Sequence[Route], group: str
) -> FleetReading:
    """Read it all, in a few round trips.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    names, wanted = list(queues), [route.name for route in routes]
    # Before the totals: a message that moves on meanwhile is then seen twice, never missed.
    waiting, blocked, are_counted = _read_queues(client, keys, names)
    totals = read_totals(client, keys)
    processes = read_processes(client, keys)
    pipe = client.pipeline(transaction=False)
    for route in wanted:
        pipe.zcard(keys.dead_by_time(route))
        pipe.zrange(keys.dead_by_time(route), 0, 0, withscores=True)
    pipe.hkeys(keys.dead_full_routes)
    pipe.get(keys.lease(group))
    pipe.hgetall(keys.paused_routes)
    pipe.info()
    *dead, full, holder, pauses, info = pipe.execute(raise_on_error=False)
    _raise_refusal([*dead, full, holder, pauses])
    paused = by_route(pauses, routes) if isinstance(pauses, dict) else {}
    return FleetReading(
        at=processes.at,
        totals=totals,
        queues={name: _served(name, reading, processes, are_counted) for name, reading in waiting.items()},
        dead={
            route: DeadReading(count=count, oldest_at=oldest[0][1] if oldest else None)
            for route, count, oldest in zip(wanted, _good(dead[::2], 0), _good(dead[1::2], []), strict=True)
        },
        full_routes=frozenset(stored_text(route) for route in full) if isinstance(full, list) else frozenset(),
        processes=processes,
        server=_server(info),
        lease_holder=holder.decode(errors="replace") if isinstance(holder, bytes) else None,
        paused=paused,
        resting=resting_queues(paused, routes),
        blocked=blocked + _blocked([*dead[::2], full, holder, pauses]),
    )


def lists_of(keys: Keys, queue: str) -> list[str]:
    """Return the Redis lists of a queue: its own, and those of other priorities."""
    return [keys.queue(queue), *(keys.queue(f"{queue}{PRIORITY_SEPARATOR}{step}") for step in PRIORITY_STEPS)]


def _read_queues(client: "redis.Redis", keys: Keys, names: list[str]) -> tuple[dict[str, QueueReading], int, bool]:
    """Return what waits on each queue, how many keys of theirs are another program's, and if `held` was counted."""
    pipe = client.pipeline(transaction=False)
    for name in names:
        for key in lists_of(keys, name):
            pipe.llen(key)
            pipe.zcard(keys.delayed(key.removeprefix(keys.prefix)))
        pipe.lindex(keys.queue(name), -1)
    pipe.hlen(keys.unacked)
    # A key of a wrong type under one of our names must not hide the others.
    *answers, held = pipe.execute(raise_on_error=False)
    _raise_refusal([*answers, held])
    are_counted = not isinstance(held, int) or held <= _MOST_HELD
    counts = _held_by_queue(client, keys) if isinstance(held, int) and held and are_counted else {}
    size = 2 * (1 + len(PRIORITY_STEPS)) + 1
    readings, blocked = {}, _blocked([held])
    for index, name in enumerate(names):
        *lengths, oldest = answers[index * size : (index + 1) * size]
        blocked += _blocked(lengths)
        lengths = _good(lengths, 0)
        readings[name] = QueueReading(
            waiting=sum(lengths[::2]),
            delayed=sum(lengths[1::2]),
            held=counts.get(name, 0),
            oldest_at=_received_at(oldest) if isinstance(oldest, bytes) else None,
        )
    return readings, blocked, are_counted


def _blocked(answers: Sequence[object]) -> int:
    """Count the keys that have another type than ours."""
    return sum(isinstance(answer, Exception) and code_of(answer) in ("", "WRONGTYPE") for answer in answers)


def _raise_refusal(answers: Sequence[object]) -> None:
    """Raise what the user may not ask: what is not known must not look like nothing."""
    for answer in answers:
        if isinstance(answer, redis.exceptions.NoPermissionError):
            raise answer


def _held_by_queue(client: "redis.Redis", keys: Keys) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in cast("list[bytes]", client.hvals(keys.unacked)):
        # `[message, exchange, routing key]`; only the end is looked at, a message may be large.
        try:
            queue = orjson.loads(b"[" + record[record.rindex(b',"') + 1 :])[0]
        except (ValueError, IndexError):
            continue
        counts[queue] = counts.get(queue, 0) + 1
    return counts


def _served(name: str, reading: QueueReading, processes: Processes, are_counted: bool) -> QueueReading:
    workers = processes.serving(name)
    # As the workers say, who do not tell their queues apart: what is not known must not look like nothing.
    told = sum(math.ceil(worker.held / len(worker.queues)) for worker in workers if worker.queues)
    return replace(
        reading,
        held=reading.held if are_counted else told,
        workers=tuple(worker.name for worker in workers),
        concurrency=sum(worker.hands for worker in workers),
    )


def _received_at(item: bytes) -> float | None:
    try:
        return TaskMessage.decode(item).envelope.received_at or None
    except EnvelopeError:
        return None


def _server(info: Any) -> ServerReading:
    if not isinstance(info, dict):
        return ServerReading()
    return ServerReading(
        version=str(info.get("valkey_version") or info.get("redis_version") or ""),
        memory_bytes=int(info.get("used_memory", 0)),
        max_memory_bytes=int(info.get("maxmemory", 0)) or None,
        policy=cast("str | None", info.get("maxmemory_policy")),
    )


def _good(answers: list[Any], otherwise: Any) -> list[Any]:
    return [otherwise if isinstance(answer, Exception) else answer for answer in answers]
