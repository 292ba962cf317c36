"""Find dead letters: keyset pages over the sorted sets, never offsets."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

import redis

from routemq.dead_letters.letter import DeadLetter, letter_id
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.opened import OpenedLetter, opened
from routemq.dead_letters.order import IndexWalk, Position, bounds
from routemq.dead_letters.peeked import PeekedLetter, peeked
from routemq.errors import DeadLetterNotFoundError
from routemq.lifecycle.scripts import KeyReports, script_text
from routemq.queues import Keys

ALL = LetterFilter()

_CHUNK = 500
_GENERATIONS_SEARCHED = 50
_PEEK = script_text("peek", package="routemq.dead_letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some letters, the newest first.

    Attributes:
        next: Where the next page begins, for `after`; None when this is the last one.
        scanned: Letters that were looked at.
    """

    letters: tuple[DeadLetter, ...]
    next: str | None
    scanned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many letters match, of those that were looked at.

    Attributes:
        scanned: Letters that were looked at.
        next: Where to go on, for `after`; None when all were looked at.
    """

    count: int
    scanned: int
    next: str | None


class LetterReader:
    """Reads the store; changes nothing."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self.client, self.keys = client, keys
        self.reports = KeyReports()

    def routes(self) -> list[str]:
        """Return the routes that have, or had, dead letters."""
        return sorted(
            name.decode(errors="replace") for name in cast("set[bytes]", self.client.smembers(self.keys.dead_routes))
        )

    def queues(self) -> list[str]:
        """Return the queues that letters came from which are there."""
        pipe = self.client.pipeline(transaction=False)
        for route in self.routes():
            pipe.hkeys(self.keys.dead_counters(route))
        fields = (name for names in self.reports.good(pipe.execute(raise_on_error=False), ()) for name in names)
        kinds = (name.decode(errors="replace").partition(":") for name in fields)
        return sorted({value for kind, _, value in kinds if kind == "queue"})

    def now(self) -> float:
        """Return Redis' clock, Unix seconds: what times of death are counted by."""
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1e6

    def index_keys(self, wanted: LetterFilter) -> list[str]:
        """Return the sorted sets in which all letters of a filter are, the smallest there are for it."""
        routes = self.routes() if wanted.route is None else [wanted.route]
        if wanted.queue is not None:
            pipe = self.client.pipeline(transaction=False)
            for route in routes:
                pipe.hexists(self.keys.dead_counters(route), f"queue:{wanted.queue}")
            answers = self.reports.good(pipe.execute(raise_on_error=False), otherwise=False)
            routes = [route for route, used in zip(routes, answers, strict=True) if used]
        if wanted.fingerprint is not None:
            return [self.keys.dead_by_error(route, wanted.fingerprint) for route in routes]
        if wanted.reason is not None:
            return [self.keys.dead_by_reason(route, wanted.reason) for route in routes]
        return [self.keys.dead_by_time(route) for route in routes]

    def gone(self, letter_ids: list[str]) -> list[str]:
        """Return those of some letters that are not there."""
        pipe = self.client.pipeline(transaction=False)
        for name in letter_ids:
            pipe.hexists(self.keys.dead_entries, name)
        return [name for name, is_there in zip(letter_ids, pipe.execute(), strict=True) if not is_there]

    def damaged(self, letter_ids: Iterable[str]) -> dict[str, str]:
        """Return those of some letters that are there and cannot be read, with what is wrong with each."""
        return {letter.id: letter.damage for letter in self.some(letter_ids) if letter.damage is not None}

    def positions(
        self, wanted: LetterFilter, *, after: Position | None = None, oldest_first: bool = False, chunk: int = _CHUNK
    ) -> Iterator[Position]:
        """Yield where letters are that the indexes cannot rule out, in order, beyond a position."""
        walks = [
            IndexWalk(self.client, key, wanted, oldest_first=oldest_first, chunk=chunk)
            for key in self.index_keys(wanted)
        ]
        pipe = self.client.pipeline(transaction=False)
        for walk in walks:
            walk.ask(pipe, after)
        answers = self.reports.good(pipe.execute(raise_on_error=False), [])
        started = [iter(walk.run(answer, after)) for walk, answer in zip(walks, answers, strict=True)]
        return heapq.merge(*started, reverse=not oldest_first)

    def walk(
        self, wanted: LetterFilter, *, after: Position | None = None, oldest_first: bool = False, chunk: int = _CHUNK
    ) -> Iterator[tuple[Position, DeadLetter | None]]:
        """Yield each place that was looked at, with its letter if that matches."""
        positions = self.positions(wanted, after=after, oldest_first=oldest_first, chunk=chunk)
        while some := list(islice(positions, chunk)):
            yield from self.letters_at(some, wanted)

    def letters_at(
        self, positions: list[Position], wanted: LetterFilter
    ) -> Iterator[tuple[Position, DeadLetter | None]]:
        """Yield each position with its letter, if it is still there and matches."""
        ids = [position.letter_id for position in positions]
        pipe = self.client.pipeline(transaction=False)
        pipe.hmget(self.keys.dead_entries, ids)
        if wanted.contains:
            pipe.hmget(self.keys.dead_raw, ids)
        descriptions, *raws = pipe.execute()
        messages = raws[0] if raws else [b""] * len(ids)
        for position, description, message in zip(positions, descriptions, messages, strict=True):
            letter = None
            # The words first: few letters have them, and the description of the others need not be read.
            if description is not None and message is not None and wanted.matches_payload(message):
                letter = DeadLetter.read(
                    position.letter_id.decode("utf-8", "replace"), description, died_at=position.died_at
                )
                # Of one that cannot be read, where it was found says all there is to know.
                if not (wanted.matches(letter) if letter.damage is None else wanted.is_indexed):
                    letter = None
            yield position, letter

    def some(self, letter_ids: Iterable[str]) -> Iterator[DeadLetter]:
        """Yield those of some letters that are there."""
        rest = iter(letter_ids)
        while names := list(islice(rest, _CHUNK)):
            for _, letter in self.letters_at([Position(0.0, name.encode()) for name in names], ALL):
                if letter is not None:
                    yield letter

    def letters(self, wanted: LetterFilter = ALL, *, oldest_first: bool = False) -> Iterator[DeadLetter]:
        """Yield every matching letter, in order."""
        for _, letter in self.walk(wanted, oldest_first=oldest_first):
            if letter is not None:
                yield letter

    def page(
        self, wanted: LetterFilter = ALL, *, limit: int = 50, after: str | None = None, scan_limit: int | None = None
    ) -> Page:
        """Return matching letters, the newest first.

        Args:
            after: `Page.next` of the page before, or the id of a letter that is still there.
            scan_limit: Look at no more letters than this; a page may then have fewer letters, or none, and yet a next.

        Raises:
            DeadLetterNotFoundError: `after` is neither.
        """
        letters: list[DeadLetter] = []
        last: Position | None = None
        scanned = 0
        # One more than asked for tells whether there is another page.
        chunk = min(_CHUNK, limit + 1) if wanted.is_indexed else _CHUNK
        for position, letter in self.walk(wanted, after=self._position(after), chunk=chunk):
            if len(letters) == limit and letter is not None:
                return Page(letters=tuple(letters), next=str(last), scanned=scanned)
            scanned += 1
            if letter is not None:
                letters.append(letter)
            if letter is not None or len(letters) < limit:
                last = position
            if scan_limit is not None and scanned >= scan_limit:
                return Page(letters=tuple(letters), next=str(last), scanned=scanned)
        return Page(letters=tuple(letters), next=None, scanned=scanned)

    def position_of(self, letter_id: str) -> Position:
        """Return where a letter is.

        Raises:
            DeadLetterNotFoundError: There is no such letter.
        """
        description = self.client.hget(self.keys.dead_entries, letter_id)
        if description is None:
            raise DeadLetterNotFoundError(letter_id=letter_id)
        letter = DeadLetter.read(letter_id, cast("bytes", description), died_at=0.0)
        pipe = self.client.pipeline(transaction=False)
        for route in [letter.route] if letter.damage is None else self.routes():
            pipe.zscore(self.keys.dead_by_time(route), letter_id)
        died_at = next(filter(None, self.reports.good(pipe.execute(raise_on_error=False), None)), 0.0)
        return Position(died_at, letter_id.encode())

    def _position(self, after: str | None) -> Position | None:
        return None if after is None else Position.parse(after) or self.position_of(after)

    def newest(self) -> Position | None:
        """Return where the newest letter is; None when there is none."""
        return next(self.positions(ALL, chunk=1), None)

    def find(self, task_id: str) -> str | None:
        """Return the id of the last dead letter of a Celery task id, as logs and Flower show it."""
        names = [letter_id(task_id, generation) for generation in reversed(range(_GENERATIONS_SEARCHED))]
        found = self.client.hmget(self.keys.dead_entries, names)
        return next((name for name, entry in zip(names, found, strict=True) if entry is not None), None)

    def is_there(self, letter_id: str) -> bool:
        """Say whether there is such a letter, as `get` finds it."""
        return all(self.client.hexists(key, letter_id) for key in (self.keys.dead_entries, self.keys.dead_raw))

    def get(self, letter_id: str) -> OpenedLetter:
        """Return a letter with all that is kept of it.

        Raises:
            DeadLetterNotFoundError: There is no such letter.
        """
        letter = self._described(letter_id)
        raw = cast("bytes | None", self.client.hget(self.keys.dead_raw, letter_id))
        if raw is None:
            raise DeadLetterNotFoundError(letter_id=letter_id)
        return opened(letter, raw)

    def raw_bytes(self, letter_id: str) -> int:
        """Return the length of a letter's message as it lay on its queue; 0 when there is no such letter."""
        return self.client.hstrlen(self.keys.dead_raw, letter_id)

    def peek(self, letter_id: str, *, most_bytes: int) -> PeekedLetter:
        """Return a letter with the beginning of its payload; only so many bytes of its message are read.

        Raises:
            DeadLetterNotFoundError: There is no such letter.
        """
        letter = self._described(letter_id)
        found = self.client.eval(_PEEK, 1, self.keys.dead_raw, letter_id, most_bytes)
        if found is None:
            raise DeadLetterNotFoundError(letter_id=letter_id)
        head, raw_bytes = cast("tuple[bytes, int]", found)
        return peeked(letter, head, raw_bytes=raw_bytes)

    def _described(self, letter_id: str) -> DeadLetter:
        position = self.position_of(letter_id)
        description = cast("bytes | None", self.client.hget(self.keys.dead_entries, letter_id))
        if description is None:
            raise DeadLetterNotFoundError(letter_id=letter_id)
        letter = DeadLetter.read(letter_id, description, died_at=position.died_at)
        if letter.traceback_digest is not None:
            text = cast("bytes | None", self.client.hget(self.keys.dead_tracebacks, letter.traceback_digest))
            letter = letter.with_traceback((text or b"").decode("utf-8", "replace"))
        return letter

    def tally(self, wanted: LetterFilter, *, after: str | None = None, scan_limit: int) -> Tally:
        """Count matching letters, in parts where no index knows them.

        Args:
            after: `Tally.next` of the part before.
            scan_limit: Look at no more letters than this.
        """
        if wanted.is_indexed and after is None:
            count = self.count(wanted)
            return Tally(count=count, scanned=count, next=None)
        count = scanned = 0
        for position, letter in self.walk(wanted, after=self._position(after)):
            count += letter is not None
            scanned += 1
            if scanned >= scan_limit:
                return Tally(count=count, scanned=scanned, next=str(position))
        return Tally(count=count, scanned=scanned, next=None)

    def count(self, wanted: LetterFilter = ALL) -> int:
        """Return how many letters match; quick when `wanted.is_indexed`."""
        if not wanted.is_indexed:
            return sum(letter is not None for _, letter in self.walk(wanted))
        low, high = bounds(wanted)
        pipe = self.client.pipeline(transaction=False)
        for key in self.index_keys(wanted):
            pipe.zcount(key, low, high)
        return sum(self.reports.good(pipe.execute(raise_on_error=False), 0))
