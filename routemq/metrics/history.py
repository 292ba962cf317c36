"""What each route did, minute by minute for a day and hour by hour for a month, in Redis.

The counts are those of the totals: what they have grown by since the last look is added to the minute and the hour
of this look, in the transaction that remembers the look. So whoever looks, and how often, nothing is counted twice,
and the slots add up to the totals. Times come from each worker's own buckets.

A key holds the slots of one route for an hour (of minutes) or a day (of hours), each slot a row of u32 that saturate;
it exists only if the route did something, and expires; how many routes have any, `history_room.py` says. Whether
anybody looked at all is a bit for each minute: a minute without one is a gap, not a zero. All times are Redis': no
host's clock matters.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import orjson
import redis

from routemq.lifecycle.scripts import KeyReports
from routemq.metrics.history_grain import COUNTS, FIRST_RUN, FIRST_WAIT, GRAINS, WIDTH, Grain, Span
from routemq.metrics.history_room import MOST_ROUTES, NoHistoryRoomError, find_room
from routemq.metrics.totals import RouteTotals, read_totals
from routemq.queues import Keys

LOOK_EVERY_S = 5.0

_MINUTE_S, _DAY_S = 60, 86_400
_REPORTS = KeyReports()
_LOOKED_AT = "at"
_ROUTE = "route:"

T = TypeVar("T")


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
    """A route's slots, the oldest first; the last one is not over.

    Attributes:
        is_left_out: Whether none is kept of it for want of room; what there is was written before.
    """

    route: str
    step_s: int
    slots: tuple[Slot, ...]
    is_left_out: bool = False


Times = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Route → buckets of its runs, and of its waiting."""


def add_times(client: "redis.Redis", keys: Keys, times: Times, *, at: float) -> list[Any]:
    """Add what runs took, and what they had waited; return Redis' answers, of which some may be exceptions.

    Raises:
        redis.RedisError: Redis cannot be asked, or refuses.
    """
    kept, problems = _with_room(client, keys, times, at=at)
    with client.pipeline(transaction=False) as pipe:
        for route, (run, wait) in kept.items():
            places = [*enumerate(run, FIRST_RUN), *enumerate(wait, FIRST_WAIT)]
            amounts = {place: count for place, count in places if count}
            for grain in GRAINS.values():
                grain.add(pipe, keys, route, at, amounts)
        return [*pipe.execute(raise_on_error=False), *problems]


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
            seen, grown = _grown(looks, totals, at=at)
            kept, problems = _with_room(client, keys, grown, at=at)
            pipe.multi()
            pipe.hset(keys.history_looks, mapping=seen)
            for route, amounts in kept.items():
                for grain in GRAINS.values():
                    grain.add(pipe, keys, route, at, amounts)
            day, minute = divmod(int(at), _DAY_S)
            pipe.execute_command(
                "BITFIELD", keys.history_looked(day), "SET", "u1", _DAY_S // _MINUTE_S, 0,
                "SET", "u1", minute // _MINUTE_S, 1,
            )  # fmt: skip
            pipe.expire(keys.history_looked(day), GRAINS["month"].shown_s + _DAY_S)
            return [*pipe.execute(raise_on_error=False), *problems]
        except redis.WatchError:
            # Somebody else has looked.
            return []


def _with_room(
    client: "redis.Redis", keys: Keys, found: Mapping[str, T], *, at: float
) -> tuple[Mapping[str, T], Sequence[NoHistoryRoomError]]:
    """Return what is found of routes that have room, and say of which others there is something."""
    left_out, ended = find_room(client, keys, found, at=at)
    if ended:
        with client.pipeline(transaction=False) as pipe:
            for route in ended:
                pipe.unlink(*(key for grain in GRAINS.values() for key in grain.keys_until(keys, route, at)))
            pipe.execute()
    if not left_out:
        return found, ()
    problem = NoHistoryRoomError(routes=left_out, most=MOST_ROUTES)
    return {route: each for route, each in found.items() if route not in left_out}, [problem]


def _grown(
    looks: Mapping[bytes, bytes], totals: Mapping[str, RouteTotals], *, at: float
) -> tuple[dict[str, str | bytes], dict[str, Mapping[int, int]]]:
    """Return what is to be remembered of this look, and by how much the totals of each route have grown."""
    amounts_of: dict[str, Mapping[int, int]] = {}
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
            amounts_of[route] = amounts
    return seen, amounts_of


def steps_of(span: Span) -> tuple[int, ...]:
    """Return what the slots of a span may be read as, in seconds: what is kept, and multiples that fill a key."""
    grain = GRAINS[span]
    return tuple(step for step in range(grain.slot_s, grain.key_s + 1, grain.slot_s) if grain.key_s % step == 0)


def read_history(client: "redis.Redis", keys: Keys, route: str, *, span: Span, step_s: int | None = None) -> History:
    """Return a route's last 24 hours or 31 days.

    Args:
        step_s: Of the slots that are returned, one of `steps_of` the span; None for the smallest.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    grain = GRAINS[span]
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
        pipe.zcard(keys.history_routes)
        pipe.zscore(keys.history_routes, route)
        answers = _REPORTS.good(pipe.execute(raise_on_error=False), None)
    *answers, routes, score = answers
    rows: dict[int, tuple[int, ...]] = {}
    for start, answer in zip(key_starts, answers, strict=False):
        rows |= _rows(grain, start, answer)
    looked = _minutes_looked_at(days, answers[len(key_starts) :])
    slots = tuple(
        _slot(at, [rows[each] for each in range(at, at + step, grain.slot_s) if each in rows], looked, step)
        for at in range(first, until + 1, step)
    )
    is_left_out = score is None and (routes or 0) >= MOST_ROUTES
    return History(route=route, step_s=step, slots=slots, is_left_out=is_left_out)


def _rows(grain: Grain, start: int, found: bytes | None) -> dict[int, tuple[int, ...]]:
    if found is None:
        return {}
    size = 4 * WIDTH
    # What is of another length was not written here; it must not hide the rest.
    whole = found[: grain.slots * size].ljust(grain.slots * size, b"\0")
    edges = range(0, len(whole) + size, size)
    return {
        start + index * grain.slot_s: struct.unpack(f">{WIDTH}I", whole[begin:end])
        for index, (begin, end) in enumerate(pairwise(edges))
        if any(whole[begin:end])
    }


def _slot(at: int, rows: Sequence[Sequence[int]], looked: frozenset[int], step_s: int) -> Slot:
    sums = [sum(column) for column in zip(*rows, strict=True)] or [0] * WIDTH
    is_known = bool(rows) or not looked.isdisjoint(range(at, at + step_s, _MINUTE_S))
    return Slot(
        at=at,
        counts=dict(zip(COUNTS, sums, strict=False)) if is_known else None,
        run=sums[FIRST_RUN:FIRST_WAIT],
        wait=sums[FIRST_WAIT:],
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
