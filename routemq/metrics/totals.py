"""Totals per route: what was received, done, retried and buried since the counters began.

The scripts that retry, bury or acknowledge a message count it in the same step, and only if a worker still held it, so
a message that was run twice is counted once. `received` is counted in the step that queues a message, or buries it
without. With `ROUTEMQ_TRANSPORT=stock`, `done` is counted by each worker process every half second instead: what a
killed process had not yet written is missing, and a message that was run twice counts twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import redis

from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq.queues import Keys

Total = Literal["received", "done", "retried", "dead", "replayed"]

_REPORTS = KeyReports()
_COUNT = re.compile(rb"0|-?[1-9][0-9]{0,17}")

TOTALS: Mapping[str, str] = {
    "received": "Messages that ingest queued or buried.",
    "done": "Messages whose controller succeeded.",
    "retried": "Runs that failed and were repeated.",
    "replayed": "Dead letters that were put back on their queues.",
}
"""What each total counts, but for `dead`, which is told by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTotals:
    """Messages of one route, since the counters began.

    Attributes:
        dead_by_reason: What `dead` is made of; what died before reasons were counted is missing.
    """

    received: int = 0
    done: int = 0
    retried: int = 0
    dead: int = 0
    replayed: int = 0
    dead_by_reason: Mapping[str, int] = field(default_factory=dict)


def add_totals(client: "redis.Redis", keys: Keys, total: Total, amounts: Mapping[str, int]) -> None:
    """Add to one total of several routes; `client` may be a pipeline."""
    for route, amount in amounts.items():
        client.sadd(keys.counted_routes, route)
        client.hincrby(keys.counters(route), total, amount)


def read_totals(client: "redis.Redis", keys: Keys) -> dict[str, RouteTotals]:
    """Return the totals of every route that has any; those that cannot be read are left out, and reported."""
    members = cast("set[bytes]", client.smembers(keys.counted_routes))
    routes = sorted(name.decode(errors="replace") for name in members)
    pipe = client.pipeline(transaction=False)
    for route in routes:
        pipe.hgetall(keys.counters(route))
    answers = _REPORTS.good(pipe.execute(raise_on_error=False), {})
    return {route: _read(keys.counters(route), found) for route, found in zip(routes, answers, strict=True) if found}


def _read(key: str, found: Mapping[bytes, bytes]) -> RouteTotals:
    counts: dict[str, int] = {}
    for name, value in found.items():
        field_name = name.decode(errors="replace")
        # As `look.lua` reads one: else it is no more counted with, and what adds it up, or writes it down, has no room.
        if _COUNT.fullmatch(value):
            counts[field_name] = int(value)
        else:
            _REPORTS.log(UnusableKeyError({"key": key, "field": field_name}))
    return RouteTotals(
        **{name: counts[name] for name in (*TOTALS, "dead") if name in counts},
        dead_by_reason={name.partition(":")[2]: count for name, count in counts.items() if name.startswith("dead:")},
    )
