"""What became of the messages so far: the totals of each route, and what still waits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import orjson
import redis

from routemq.metrics.totals import TOTALS, RouteTotals, read_totals
from routemq.queues import Keys
from routemq.routing import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteProgress(RouteTotals):
    """One route, at one moment.

    Attributes:
        queued: Messages on its queue, delayed ones and those in the hands of workers included.
    """

    queued: int = 0

    def __add__(self, other: "RouteProgress") -> "RouteProgress":
        names = (*TOTALS, "dead", "queued")
        return RouteProgress(**{name: getattr(self, name) + getattr(other, name) for name in names})


def read_progress(client: "redis.Redis", keys: Keys, router: Router) -> dict[str, RouteProgress]:
    """Return each route's progress, in the order of their declaration; then what could not be told to belong to one."""
    # Before the totals: a message that moves on meanwhile is then seen twice, never missed.
    queued = _queued(client, keys, list(router.queues))
    totals = read_totals(client, keys)
    names = dict.fromkeys(route.name for route in router.routes) | dict.fromkeys(totals)
    # Routes on one queue share it: it is shown once, by its first.
    shown = {route.name: queued.pop(route.queue, 0) for route in router.routes}
    return {name: RouteProgress(**asdict(totals.get(name, RouteTotals())), queued=shown.get(name, 0)) for name in names}


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
