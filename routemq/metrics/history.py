"""What each route did, minute by minute for a day and hour by hour for a month, in Redis.

The counts are those of the totals: what they have grown by since the last look is added to the minute and the hour
of this look, in the transaction that remembers the look. So whoever looks, and how often, nothing is counted twice,
and the slots add up to the totals. Times come from each worker's own buckets.

A key holds the slots of one route for an hour (of minutes) or a day (of hours), each slot a row of u32 that saturate;
it exists only if the route did something, and expires. Whether anybody looked at all is a bit for each minute: a minute
without one is a gap, not a zero. All times are Redis': no host's clock matters.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import orjson
import redis

from routemq.lifecycle.scripts import KeyReports
from routemq.metrics.histogram import BOUNDS_S
from routemq.metrics.totals import RouteTotals, read_totals
from routemq.queues import Keys

COUNTS = ("received", "replayed", "done", "retried", "dead")
"""In the order of a slot; then the buckets of the times of runs, then those of waiting.

Another order, or number, takes other names of keys: what is there is read as it was written.
"""

LOOK_EVERY_S = 5.0

_BUCKETS = len(BOUNDS_S) + 1
_FIRST_RUN, _FIRST_WAIT, _WIDTH = (len(COUNTS) + kinds * _BUCKETS for kinds in range(3))
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_REPORTS = KeyReports()
_LOOKED_AT = "at"
_ROUTE = "route:"

Span = Literal["day", "month"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grain:
    """How one kind of slots is kept.

    Attributes:
        slot_s: What a slot spans; likewise `key_s`, what a key does.
        shown_s: How far back is read; a key is kept for one more `key_s`, since its first slot is older than its last.
    """

    name: str
    slot_s: int
    key_s: int
    shown_s: int

    @property
    def slots(self) -> int:
        return self.key_s // self.slot_s

    def key(self, keys: Keys, route: str, at: float) -> str:
        return keys.history(self.name, int(at // self.key_s), route)

    def add(self, pipe: Any, keys: Keys, route: str, at: float, amounts: Mapping[int, int]) -> None:
        """Add to the slot of a moment, in two commands; `amounts` by their place in it."""
        key = self.key(keys, route, at)
        first = int(at % self.key_s) // self.slot_s * _WIDTH
        # With its last number the key gets its whole length at once: one that grows takes up to twice as much.
        places = {self.slots * _WIDTH - 1: 0} | {first + place: amount for place, amount in amounts.items()}
        words = [word for place, amount in places.items() for word in ("INCRBY", "u32", f"#{place}", amount)]
        pipe.execute_command("BITFIELD", key, "OVERFLOW", "SAT", *words)
        pipe.expire(key, self.shown_s + self.key_s)


_GRAINS: Mapping[Span, _Grain] = {
    "day": _Grain(name="minutes", slot_s=_MINUTE_S, key_s=_HOUR_S, shown_s=_DAY_S),
    "month": _Grain(name="hours", slot_s=_HOUR_S, key_s=_DAY_S, shown_s=31 * _DAY_S),
}
_COMMANDS_OF_A_ROUTE = 2 * len(_GRAINS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a route did in one stretch of time.

    Attributes:
        at: When it began, Unix seconds.
        counts: What the totals of the same names grew by; None when nobody looked.
        run: Buckets of the times that runs took, see `histogram`; likewise `wait`, until a first run began.
    """

    at: int
    counts: Mapping[str, int] | None
    run: Sequence[int]
    wait: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A route's slots, the oldest first; the last one is not over."""

    route: str
    step_s: int
    slots: tuple[Slot, ...]


Times = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Route → buckets of its runs, and of its waiting."""


def add_times(client: "redis.Redis", keys: Keys, times: Times, *, at: float) -> list[Any]:
    """Add what runs took, and what they had waited; return Redis' answers, of which some may be exceptions."""
    with client.pipeline(transaction=False) as pipe:
        for route, (run, wait) in times.items():
            places = [*enumerate(run, _FIRST_RUN), *enumerate(wait, _FIRST_WAIT)]
            amounts = {place: count for place, count in places if count}
            for grain in _GRAINS.values():
                grain.add(pipe, keys, route, at, amounts)
        return pipe.execute(raise_on_error=False)


def add_counts(client: "redis.Redis", keys: Keys, *, at: float) -> list[Any]:
    """Add what the totals have grown by since somebody looked; return Redis' answers, as `add_times`.

    Does nothing when that was just now. At the very first look there is nothing to compare with: totals that are there
    already were counted at some other time.

    Raises:
        redis.RedisError: Redis cannot be read, or refuses all of it.
    """
    # One that lies ahead comes from a clock that was put back.
    if 0 <= at - _number(cast("bytes | None", client.hget(keys.history_looks, _LOOKED_AT))) < LOOK_EVERY_S - 1:
        return []
    # Any, since redis-py has no types for what a pipeline does between WATCH and MULTI.
    with cast("Any", client.pipeline()) as pipe:
        try:
            pipe.watch(keys.history_looks)
            looks: dict[bytes, bytes] = pipe.hgetall(keys.history_looks)
            totals = read_totals(client, keys)
            pipe.multi()
            pipe.hset(keys.history_looks, mapping=_record(pipe, keys, looks, totals, at=at))
            day, minute = divmod(int(at), _DAY_S)
            pipe.execute_command(
                "BITFIELD", keys.history_looked(day), "SET", "u1", _DAY_S // _MINUTE_S, 0,
                "SET", "u1", minute // _MINUTE_S, 1,
            )  # fmt: skip
            pipe.expire(keys.history_looked(day), _GRAINS["month"].shown_s + _DAY_S)
            return cast("list[Any]", pipe.execute(raise_on_error=False))
        except redis.WatchError:
            # Somebody else has looked.
            return []


def _record(
    pipe: Any, keys: Keys, looks: Mapping[bytes, bytes], totals: Mapping[str, RouteTotals], *, at: float
) -> dict[str, str | bytes]:
    """Add what has grown, and return what is to be remembered."""
    seen: dict[str, str | bytes] = {_LOOKED_AT: f"{at:.3f}"}
    for route, found in totals.items():
        now = [getattr(found, name) for name in COUNTS]
        before = _numbers(looks.get(f"{_ROUTE}{route}".encode()))
        if now == before:
            continue
        seen[f"{_ROUTE}{route}"] = orjson.dumps(now)
        if not looks or before is None:
            continue
        # A counter that begins again counts from zero.
        grown = [new - old if new >= old else new for new, old in zip(now, before, strict=True)]
        amounts = {place: amount for place, amount in enumerate(grown) if amount > 0}
        if amounts:
            for grain in _GRAINS.values():
                grain.add(pipe, keys, route, at, amounts)
    return seen


def steps_of(span: Span) -> tuple[int, ...]:
    """Return what the slots of a span may be read as, in seconds: what is kept, and multiples that fill a key."""
    grain = _GRAINS[span]
    return tuple(step for step in range(grain.slot_s, grain.key_s + 1, grain.slot_s) if grain.key_s % step == 0)


def read_history(client: "redis.Redis", keys: Keys, route: str, *, span: Span, step_s: int | None = None) -> History:
    """Return a route's last 24 hours or 31 days.

    Args:
        step_s: Of the slots that are returned, one of `steps_of` the span; None for the smallest.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    grain = _GRAINS[span]
    step = step_s or grain.slot_s
    until = int(client.time()[0])
    first = until // step * step - grain.shown_s + step
    key_starts = range(first // grain.key_s * grain.key_s, until + 1, grain.key_s)
    days = range(first // _DAY_S, until // _DAY_S + 1)
    with client.pipeline(transaction=False) as pipe:
        for start in key_starts:
            pipe.get(grain.key(keys, route, start))
        for day in days:
            pipe.get(keys.history_looked(day))
        answers = _REPORTS.good(pipe.execute(raise_on_error=False), None)
    rows: dict[int, tuple[int, ...]] = {}
    for start, answer in zip(key_starts, answers, strict=False):
        rows |= _rows(grain, start, answer)
    looked = _minutes_looked_at(days, answers[len(key_starts) :])
    slots = tuple(
        _slot(at, [rows[each] for each in range(at, at + step, grain.slot_s) if each in rows], looked, step)
        for at in range(first, until + 1, step)
    )
    return History(route=route, step_s=step, slots=slots)


def _rows(grain: _Grain, start: int, found: bytes | None) -> dict[int, tuple[int, ...]]:
    if found is None:
        return {}
    size = 4 * _WIDTH
    # What is of another length was not written here; it must not hide the rest.
    whole = found[: grain.slots * size].ljust(grain.slots * size, b"\0")
    edges = range(0, len(whole) + size, size)
    return {
        start + index * grain.slot_s: struct.unpack(f">{_WIDTH}I", whole[begin:end])
        for index, (begin, end) in enumerate(pairwise(edges))
        if any(whole[begin:end])
    }


def _slot(at: int, rows: Sequence[Sequence[int]], looked: frozenset[int], step_s: int) -> Slot:
    sums = [sum(column) for column in zip(*rows, strict=True)] or [0] * _WIDTH
    is_known = bool(rows) or not looked.isdisjoint(range(at, at + step_s, _MINUTE_S))
    return Slot(
        at=at,
        counts=dict(zip(COUNTS, sums, strict=False)) if is_known else None,
        run=sums[_FIRST_RUN:_FIRST_WAIT],
        wait=sums[_FIRST_WAIT:],
    )


def _minutes_looked_at(days: Iterable[int], found: Sequence[bytes | None]) -> frozenset[int]:
    return frozenset(
        day * _DAY_S + (8 * index + bit) * _MINUTE_S
        for day, bits in zip(days, found, strict=True)
        for index, byte in enumerate(bits or b"")
        if byte
        for bit in range(8)
        if byte & 0x80 >> bit
    )


def _number(found: bytes | None) -> float:
    try:
        return float(found or b"-inf")
    except ValueError:
        return float("-inf")


def _numbers(found: bytes | None) -> list[int] | None:
    """Return what the totals of a route were; None of what another release, or a hand, wrote there."""
    if found is None:
        return [0] * len(COUNTS)
    try:
        numbers = orjson.loads(found)
    except orjson.JSONDecodeError:
        return None
    is_ours = isinstance(numbers, list) and len(numbers) == len(COUNTS) and all(type(each) is int for each in numbers)
    return numbers if is_ours else None
