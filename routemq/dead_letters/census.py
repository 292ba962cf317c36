"""How many dead letters there are, of what, and since when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

from routemq.dead_letters.fingerprint import OTHER
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.order import bounds
from routemq.dead_letters.reading import LetterReader


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterGroup:
    """Letters that have one thing in common.

    Attributes:
        name: The route, the reason or the fingerprint.
        oldest_at: First time of death, Unix seconds; likewise the last.
    """

    name: str
    count: int
    oldest_at: float
    newest_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup(LetterGroup):
    """Letters of one fingerprint on one route.

    Attributes:
        example: The newest of them.
        first_release: Of the oldest of them that is there; None where that is not known.
    """

    route: str
    example: DeadLetter
    first_release: str | None = None

    @property
    def is_rest(self) -> bool:
        """Whether these are the errors of a route that has too many kinds to count each."""
        return self.name == OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterStats:
    """What is in the store.

    Attributes:
        errors: The most frequent fingerprints; `error_count` says how many there are in all.
        full_routes: Routes that are not consumed because they have as many dead letters as they may, with their queue.
        archive_problem: Why letters that are due could not be archived; None when they were, or none are.
    """

    total: int
    routes: tuple[LetterGroup, ...]
    reasons: tuple[LetterGroup, ...]
    errors: tuple[ErrorGroup, ...]
    error_count: int
    full_routes: dict[str, str]
    archive_problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Deaths from one time to another, Unix seconds; the end does not belong to it."""

    start_at: float
    end_at: float
    count: int


def read_stats(reader: LetterReader, wanted: LetterFilter, *, most_errors: int) -> LetterStats:
    """Count what is there, by the indexes alone: what these can tell of a filter, the figures follow."""
    wanted = wanted.indexed_part
    keys, routes = reader.keys, reader.routes() if wanted.route is None else [wanted.route]
    pipe = reader.client.pipeline(transaction=False)
    for route in routes:
        pipe.hgetall(keys.dead_counters(route))
    pipe.hgetall(keys.dead_full_routes)
    pipe.get(keys.dead_archive_problem)
    *counters, full, problem = pipe.execute(raise_on_error=False)
    counters, (full,) = reader.reports.good(counters, {}), reader.reports.good([full], {})
    (problem,) = reader.reports.good([problem], None)
    reasons: list[tuple[str, str]] = []
    errors: list[tuple[int, str, str]] = []
    for route, found in zip(routes, counters, strict=True):
        for name, amount in found.items():
            kind, _, value = name.decode().partition(":")
            if kind == "reason" and wanted.reason in (None, value):
                reasons.append((value, route))
            elif kind == "error" and amount.isdigit() and wanted.error in (None, value):
                errors.append((int(amount), value, route))
    top = sorted(errors, key=lambda error: (-error[0], *error[1:]))[:most_errors]
    index_keys = [key for route in routes for key in reader.index_keys(replace(wanted, route=route))]
    index_keys += [keys.dead_by_reason(route, reason) for reason, route in reasons]
    index_keys += [keys.dead_by_error(route, fingerprint) for _, fingerprint, route in top]
    spans = _spans(reader, index_keys, wanted)
    by_route = [_merged(route, [span]) for route, span in zip(routes, spans, strict=False)]
    of_reasons = spans[len(routes) : len(routes) + len(reasons)]
    by_reason = [
        _merged(name, [span for (reason, _), span in zip(reasons, of_reasons, strict=True) if reason == name])
        for name in sorted({reason for reason, _ in reasons})
    ]
    return LetterStats(
        total=sum(span.count for span in spans[: len(routes)]),
        routes=_largest_first(by_route),
        reasons=_largest_first(by_reason),
        errors=tuple(
            group for group in _error_groups(reader, wanted, top, spans[len(routes) + len(reasons) :]) if group.count
        ),
        error_count=len(errors),
        full_routes={route.decode(): queue.decode() for route, queue in full.items()},
        archive_problem=None if problem is None else problem.decode(errors="replace"),
    )


def stats_of(letters: Iterable[DeadLetter], of_all: LetterStats, *, most_errors: int) -> LetterStats:
    """Count some letters, one by one.

    Args:
        letters: The oldest first.
        of_all: What is said of the store as a whole.
    """
    routes: dict[str, list[float]] = {}
    reasons: dict[str, list[float]] = {}
    errors: dict[tuple[str, str], tuple[list[float], DeadLetter]] = {}
    for letter in letters:
        seen, _ = errors.get((letter.fingerprint, letter.route), ([0.0, letter.died_at, 0.0], letter))
        errors[letter.fingerprint, letter.route] = (seen, letter)
        of_route = routes.setdefault(letter.route, [0.0, letter.died_at, 0.0])
        for counted in (seen, of_route, reasons.setdefault(letter.reason, [0.0, letter.died_at, 0.0])):
            counted[0] += 1
            counted[2] = letter.died_at
    groups = [
        ErrorGroup(name=name, count=int(count), oldest_at=oldest_at, newest_at=newest_at, route=route, example=example)
        for (name, route), ((count, oldest_at, newest_at), example) in errors.items()
    ]
    return replace(
        of_all,
        total=sum(int(count) for count, _, _ in routes.values()),
        routes=_largest_first([_group(name, *seen) for name, seen in routes.items()]),
        reasons=_largest_first([_group(name, *seen) for name, seen in reasons.items()]),
        errors=tuple(sorted(groups, key=lambda group: (-group.count, group.name, group.route))[:most_errors]),
        error_count=len(errors),
    )


def _group(name: str, count: float, oldest_at: float, newest_at: float) -> LetterGroup:
    return LetterGroup(name=name, count=int(count), oldest_at=oldest_at, newest_at=newest_at)


def read_histogram(
    reader: LetterReader, wanted: LetterFilter, *, since: float | None, until: float | None, buckets: int
) -> tuple[Bucket, ...]:
    """Count deaths over time; see `DeadLetters.histogram`."""
    end = until if until is not None else wanted.until if wanted.until is not None else reader.now()
    start = since if since is not None else wanted.since
    if start is None:
        spans = [span for span in _spans(reader, reader.index_keys(wanted), wanted) if span.count]
        start = min((span.oldest_at for span in spans), default=end - 1)
    width = max((end - start) / buckets, 1e-3)
    edges = [start + width * number for number in range(buckets)]
    edges.append(max(end, edges[-1] + 1e-3))
    if wanted.is_indexed:
        counts = _indexed_counts(reader, wanted, edges)
    else:
        counts = [0] * buckets
        for _, letter in reader.walk(wanted):
            if letter is not None and start <= letter.died_at < edges[-1]:
                counts[min(buckets - 1, int((letter.died_at - start) / width))] += 1
    return tuple(
        Bucket(start_at=left, end_at=right, count=count)
        for (left, right), count in zip(pairwise(edges), counts, strict=True)
    )


def _indexed_counts(reader: LetterReader, wanted: LetterFilter, edges: Sequence[float]) -> list[int]:
    keys = reader.index_keys(wanted)
    if not keys:
        return [0] * (len(edges) - 1)
    pipe = reader.client.pipeline(transaction=False)
    for left, right in pairwise(edges):
        low, high = bounds(LetterFilter(since=max(left, wanted.since or left), until=min(right, wanted.until or right)))
        for key in keys:
            pipe.zcount(key, low, high)
    answers = reader.reports.good(pipe.execute(raise_on_error=False), 0)
    return [sum(answers[first : first + len(keys)]) for first in range(0, len(answers), len(keys))]


def _spans(reader: LetterReader, index_keys: Sequence[str], wanted: LetterFilter) -> list[LetterGroup]:
    """Return size, first and last time of each sorted set within the filter's times; its name is the newest letter."""
    low, high = bounds(wanted)
    pipe = reader.client.pipeline(transaction=False)
    for key in index_keys:
        pipe.zcount(key, low, high)
        pipe.zrange(key, low, high, byscore=True, offset=0, num=1, withscores=True)
        pipe.zrange(key, high, low, byscore=True, desc=True, offset=0, num=1, withscores=True)
    answers = reader.reports.good(pipe.execute(raise_on_error=False), ())
    spans = []
    for count, oldest, newest in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        name, newest_at = newest[0] if newest else (b"", 0.0)
        spans.append(
            LetterGroup(
                name=name.decode("utf-8", "replace"),
                count=count or 0,
                oldest_at=oldest[0][1] if oldest else 0.0,
                newest_at=newest_at,
            )
        )
    return spans


def _merged(name: str, spans: Sequence[LetterGroup]) -> LetterGroup:
    there = [span for span in spans if span.count]
    return LetterGroup(
        name=name,
        count=sum(span.count for span in there),
        oldest_at=min((span.oldest_at for span in there), default=0.0),
        newest_at=max((span.newest_at for span in there), default=0.0),
    )


def _largest_first(groups: Sequence[LetterGroup]) -> tuple[LetterGroup, ...]:
    return tuple(sorted((group for group in groups if group.count), key=lambda group: (-group.count, group.name)))


def _error_groups(
    reader: LetterReader, wanted: LetterFilter, top: Sequence[tuple[int, str, str]], spans: Sequence[LetterGroup]
) -> Sequence[ErrorGroup]:
    described = _described(reader, [span.name for span in spans])
    first = _described(reader, _oldest(reader, wanted, top))
    return [
        ErrorGroup(
            name=fingerprint,
            route=route,
            count=span.count,
            oldest_at=span.oldest_at,
            newest_at=span.newest_at,
            example=replace(example, died_at=span.newest_at),
            first_release=None if oldest is None else oldest.release,
        )
        for (_, fingerprint, route), span, example, oldest in zip(top, spans, described, first, strict=True)
        if example is not None
    ]


def _oldest(reader: LetterReader, wanted: LetterFilter, top: Sequence[tuple[int, str, str]]) -> list[str]:
    low, high = bounds(wanted)
    pipe = reader.client.pipeline(transaction=False)
    for _, fingerprint, route in top:
        pipe.zrange(reader.keys.dead_by_error(route, fingerprint), low, high, byscore=True, offset=0, num=1)
    answers = reader.reports.good(pipe.execute(raise_on_error=False), ())
    return [found[0].decode("utf-8", "replace") if found else "" for found in answers]


def _described(reader: LetterReader, ids: Sequence[str]) -> list[DeadLetter | None]:
    found = cast("list[bytes | None]", reader.client.hmget(reader.keys.dead_entries, ids) if ids else [])
    return [
        None if description is None else DeadLetter.from_description(name, description, died_at=0.0)
        for name, description in zip(ids, found, strict=True)
    ]
