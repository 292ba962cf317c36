"""What became of the messages so far: the counters of each route, and what still waits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import orjson
import redis

from routemq.counters import RouteTotals, read_totals
from routemq.queues import Keys
from routemq.routing import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteProgress:
    """One route, at one moment.

    Attributes:
        queued: Messages on its queue, delayed ones and those in the hands of workers included.
    """

    received: int = 0
    done: int = 0
    retried: int = 0
    dead: int = 0
    replayed: int = 0
    queued: int = 0

    def __add__(self, other: "RouteProgress") -> "RouteProgress":
        return RouteProgress(
            received=self.received + other.received,
            done=self.done + other.done,
            retried=self.retried + other.retried,
            dead=self.dead + other.dead,
            replayed=self.replayed + other.replayed,
            queued=self.queued + other.queued,
        )


def read_progress(client: "redis.Redis", keys: Keys, router: Router) -> dict[str, RouteProgress]:
    """Return each route's progress, in the order of their declaration."""
    # Before the counters: a message that moves on meanwhile is then seen twice, never missed.
    queued = _queued(client, keys, list(router.queues))
    totals = read_totals(client, keys)
    progress: dict[str, RouteProgress] = {}
    counted: set[str] = set()
    for route in router.routes:
        found = totals.get(route.name, RouteTotals())
        progress[route.name] = RouteProgress(
            received=found.received,
            done=found.done,
            retried=found.retried,
            dead=found.dead,
            replayed=found.replayed,
            # Routes on one queue share it: it is shown once.
            queued=0 if route.queue in counted else queued[route.queue],
        )
        counted.add(route.queue)
    for name, found in totals.items():
        # What could not be told to belong to a route is counted too.
        if name not in progress:
            progress[name] = RouteProgress(
                received=found.received, done=found.done, dead=found.dead, replayed=found.replayed
            )
    return progress


def total(progress: Mapping[str, RouteProgress]) -> RouteProgress:
    """Return the sum of all routes."""
    return sum(progress.values(), RouteProgress())


def _queued(client: "redis.Redis", keys: Keys, queues: list[str]) -> Counter[str]:
    pipe = client.pipeline(transaction=True)
    for queue in queues:
        pipe.llen(keys.queue(queue))
        pipe.zcard(keys.delayed(queue))
    pipe.hvals(keys.unacked)
    *lengths, unacked = cast("tuple[int, ...]", pipe.execute())
    counts = Counter({queue: lengths[2 * index] + lengths[2 * index + 1] for index, queue in enumerate(queues)})
    for record in cast("list[bytes]", unacked):
        _message, _exchange, routing_key = orjson.loads(record)
        counts[routing_key] += 1
    return counts
