"""How many dead letters there are, of what, and since when.

Longer than other files: what the indexes tell and what is counted one by one must tell the same.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

from routemq.dead_letters.fingerprint import OTHER
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.order import bounds
from routemq.dead_letters.reading import LetterReader
from routemq.text import stored_text


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
    """Letters of one fingerprint, of however many routes; the rest of those that are not told apart, of one route.

    Attributes:
        routes: Their routes, the one with the most letters first.
        example: The newest of them.
        first_release: Of the oldest of them that is there; None where that is not known.
    """

    routes: tuple[str, ...]
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
        errors: The most frequent errors; `error_count` says how many there are in all.
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
    pairs: list[tuple[str, str, int]] = []
    for route, found in zip(routes, counters, strict=True):
        for name, amount in found.items():
            kind, _, value = name.decode(errors="replace").partition(":")
            if kind == "reason" and wanted.reason in (None, value):
                reasons.append((value, route))
            elif kind == "error" and amount.isdigit() and wanted.error in (None, value):
                pairs.append((value, route, int(amount)))
    errors = _most_frequent(pairs if wanted.is_of_all_times else _in_time(reader, wanted, pairs))
    # Which reason an error has, its letters alone say.
    looked_at = errors[:most_errors] if wanted.reason is None else errors
    top = [(fingerprint, route) for (fingerprint, _), routes_of in looked_at for route in routes_of]
    index_keys = [key for route in routes for key in reader.index_keys(replace(wanted, route=route))]
    index_keys += [keys.dead_by_reason(route, reason) for reason, route in reasons]
    index_keys += [keys.dead_by_error(route, fingerprint) for fingerprint, route in top]
    spans = _spans(reader, index_keys, wanted)
    by_route = [_merged(route, [span]) for route, span in zip(routes, spans, strict=False)]
    of_reasons = spans[len(routes) : len(routes) + len(reasons)]
    by_reason = [
        _merged(name, [span for (reason, _), span in zip(reasons, of_reasons, strict=True) if reason == name])
        for name in sorted({reason for reason, _ in reasons})
    ]
    groups = _error_groups(reader, wanted, top, spans[len(routes) + len(reasons) :])
    return LetterStats(
        total=sum(span.count for span in spans[: len(routes)]),
        routes=_largest_first(by_route),
        reasons=_largest_first(by_reason),
        errors=groups[:most_errors],
        error_count=len(errors) if wanted.reason is None else len(groups),
        full_routes={stored_text(route): stored_text(queue) for route, queue in full.items()},
        archive_problem=None if problem is None else problem.decode(errors="replace"),
    )


def _group_of(fingerprint: str, route: str) -> tuple[str, str]:
    """Return what makes letters one error: the rest is another one in each route."""
    return fingerprint, route if fingerprint == OTHER else ""


def _most_frequent(pairs: Iterable[tuple[str, str, int]]) -> list[tuple[tuple[str, str], list[str]]]:
    """Return each error with its routes, the most frequent first."""
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for fingerprint, route, count in pairs:
        if count:
            found.setdefault(_group_of(fingerprint, route), []).append((count, route))
    most_first = sorted(found.items(), key=lambda group: (-sum(count for count, _ in group[1]), group[0]))
    return [
        (group, [route for _, route in sorted(routes, key=lambda of: (-of[0], of[1]))]) for group, routes in most_first
    ]


def _in_time(
    reader: LetterReader, wanted: LetterFilter, pairs: Sequence[tuple[str, str, int]]
) -> list[tuple[str, str, int]]:
    low, high = bounds(wanted)
    pipe = reader.client.pipeline(transaction=False)
    for fingerprint, route, _ in pairs:
        pipe.zcount(reader.keys.dead_by_error(route, fingerprint), low, high)
    counts = reader.reports.good(pipe.execute(raise_on_error=False), 0)
    return [(fingerprint, route, count) for (fingerprint, route, _), count in zip(pairs, counts, strict=True)]


def read_matching(
    reader: LetterReader, letters: Iterable[DeadLetter], wanted: LetterFilter, *, most_errors: int, buckets: int
) -> tuple[LetterStats, tuple[Bucket, ...]]:
    """Count letters and their deaths over time, by the indexes where these tell all, else one by one and once.

    Args:
        letters: Those that match, the oldest first.
    """
    of_all = read_stats(reader, wanted, most_errors=most_errors)
    until = reader.now() if wanted.until is None else wanted.until
    # An index for each reason and one for each error do not say which reasons an error has.
    if wanted.is_indexed and wanted.reason is None and wanted.error is None:
        return of_all, read_histogram(reader, wanted, since=wanted.since, until=until, buckets=buckets)
    died_at = array("d")
    routes: dict[str, list[float]] = {}
    reasons: dict[str, list[float]] = {}
    errors: dict[tuple[str, str], tuple[list[float], Counter[str], list[DeadLetter]]] = {}
    for letter in letters:
        died_at.append(letter.died_at)
        group = _group_of(letter.fingerprint, letter.route)
        if group not in errors:
            errors[group] = ([0.0, letter.died_at, 0.0], Counter(), [letter, letter])
        seen, on_routes, ends = errors[group]
        on_routes[letter.route] += 1
        ends[1] = letter
        of_route = routes.setdefault(letter.route, [0.0, letter.died_at, 0.0])
        for counted in (seen, of_route, reasons.setdefault(letter.reason, [0.0, letter.died_at, 0.0])):
            counted[0] += 1
            counted[2] = letter.died_at
    groups = [
        ErrorGroup(
            name=name,
            count=int(count),
            oldest_at=oldest_at,
            newest_at=newest_at,
            routes=tuple(sorted(on_routes, key=lambda route: (-on_routes[route], route))),
            example=newest,
            first_release=oldest.release,
        )
        for (name, _), ((count, oldest_at, newest_at), on_routes, (oldest, newest)) in errors.items()
    ]
    stats = replace(
        of_all,
        total=len(died_at),
        routes=_largest_first([_group(name, *seen) for name, seen in routes.items()]),
        reasons=_largest_first([_group(name, *seen) for name, seen in reasons.items()]),
        errors=tuple(sorted(groups, key=lambda group: (-group.count, group.name, group.routes))[:most_errors]),
        error_count=len(errors),
    )
    edges = _edges(wanted.since if wanted.since is not None else min(died_at, default=until - 1), until, buckets)
    counts = [0] * buckets
    for at in died_at:
        if edges[0] <= at < edges[-1]:
            counts[min(buckets - 1, bisect_right(edges, at) - 1)] += 1
    return stats, _buckets(edges, counts)


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
    edges = _edges(start, end, buckets)
    if wanted.is_indexed:
        return _buckets(edges, _indexed_counts(reader, wanted, edges))
    counts = [0] * buckets
    for _, letter in reader.walk(wanted):
        if letter is not None and start <= letter.died_at < edges[-1]:
            counts[min(buckets - 1, bisect_right(edges, letter.died_at) - 1)] += 1
    return _buckets(edges, counts)


def _edges(start: float, end: float, buckets: int) -> list[float]:
    # A hand may have written any number for a time.
    start = min(max(start, 0.0), end)
    width = max((end - start) / buckets, 1e-3)
    edges = [start + width * number for number in range(buckets)]
    edges.append(max(end, edges[-1] + 1e-3))
    return edges


def _buckets(edges: Sequence[float], counts: Sequence[int]) -> tuple[Bucket, ...]:
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
    reader: LetterReader, wanted: LetterFilter, top: Sequence[tuple[str, str]], spans: Sequence[LetterGroup]
) -> tuple[ErrorGroup, ...]:
    """Return the errors of these fingerprints and routes, each with what it has on all of its routes."""
    described = _described(reader, [span.name for span in spans])
    first = _described(reader, _oldest(reader, wanted, top))
    found: dict[tuple[str, str], list[tuple[str, LetterGroup, DeadLetter, DeadLetter | None]]] = {}
    for (fingerprint, route), span, newest, oldest in zip(top, spans, described, first, strict=True):
        # Nearly every error has one reason; of others all are counted whose first or last letter has it.
        has_reason = wanted.reason is None or wanted.reason in {letter.reason for letter in (newest, oldest) if letter}
        if newest is not None and span.count and has_reason:
            found.setdefault(_group_of(fingerprint, route), []).append((route, span, newest, oldest))
    groups = []
    for (fingerprint, _), parts in found.items():
        _, last, newest, _ = max(parts, key=lambda part: part[1].newest_at)
        _, earliest, _, oldest = min(parts, key=lambda part: part[1].oldest_at)
        groups.append(
            ErrorGroup(
                name=fingerprint,
                routes=tuple(route for route, *_ in parts),
                count=sum(span.count for _, span, *_ in parts),
                oldest_at=earliest.oldest_at,
                newest_at=last.newest_at,
                example=replace(newest, died_at=last.newest_at),
                first_release=None if oldest is None else oldest.release,
            )
        )
    return tuple(sorted(groups, key=lambda group: -group.count))


def _oldest(reader: LetterReader, wanted: LetterFilter, top: Sequence[tuple[str, str]]) -> list[str]:
    low, high = bounds(wanted)
    pipe = reader.client.pipeline(transaction=False)
    for fingerprint, route in top:
        pipe.zrange(reader.keys.dead_by_error(route, fingerprint), low, high, byscore=True, offset=0, num=1)
    answers = reader.reports.good(pipe.execute(raise_on_error=False), ())
    return [found[0].decode("utf-8", "replace") if found else "" for found in answers]


def _described(reader: LetterReader, ids: Sequence[str]) -> list[DeadLetter | None]:
    found = cast("list[bytes | None]", reader.client.hmget(reader.keys.dead_entries, ids) if ids else [])
    return [
        None if description is None else DeadLetter.read(name, description, died_at=0.0)
        for name, description in zip(ids, found, strict=True)
    ]
