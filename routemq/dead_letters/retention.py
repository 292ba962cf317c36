"""What is too old or too much goes to files, and only then from Redis."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import redis

from routemq.dead_letters.archive import ArchiveFile
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.letter_filter import LetterFilter
from routemq.dead_letters.store import DeadLetters
from routemq.errors import RouteMQError
from routemq.lock import Lock
from routemq.queues import Keys
from routemq.settings import Settings
from routemq.text import error_line, plural

logger = logging.getLogger(__name__)

_BATCH = 500
_LOCK_S = 60
"""A sweeper that is killed is replaced after this; a living one renews its lock with each batch."""

_TOLD_S = 300
"""A problem that no sweep has met again for so long is told no more."""

_READABLE_LENGTH = 80
_ROOM = 0.1
"""How much of a full route is archived at once."""


class SweepError(RouteMQError):
    """Letters of some routes could not be archived; they are in Redis as before.

    Attributes:
        failures: What went wrong by route.
    """

    def __init__(self, *, failures: Mapping[str, Exception]) -> None:
        self.failures = failures
        route, first = next(iter(failures.items()))
        others = len(failures) - 1
        more = f" (and {plural(others, 'more route')})" if others else ""
        super().__init__(f"dead letters of {route} are not archived: {error_line(first)}{more}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """Letters that are older than `DLQ_RETENTION_DAYS` and stay, because without `DLQ_ARCHIVE_DIR` none is removed."""

    count: int
    days: int

    @property
    def mend(self) -> str:
        """The command that writes them to a file and removes them."""
        return f"routemq dlq purge --older-than {self.days}d"

    @classmethod
    def of(cls, settings: Settings, store: DeadLetters) -> "Overdue | None":
        """Return what is overdue, if anything is."""
        days = settings.dlq_retention_days
        if not days or settings.dlq_archive_dir is not None:
            return None
        count = store.count(LetterFilter(until=store.now() - days * 86_400))
        return cls(count=count, days=days) if count else None


class Retention:
    """Keeps the store within `DLQ_RETENTION_DAYS` and `DLQ_MAX_ENTRIES`; only one process at a time does."""

    def __init__(self, settings: Settings, client: "redis.Redis") -> None:
        self._store = DeadLetters.of(settings, client, buries=False)
        self._client, self._keys = client, Keys(settings.key_prefix)
        self._days, self._most, self._folder = (
            settings.dlq_retention_days, settings.dlq_max_entries, settings.dlq_archive_dir
        )  # fmt: skip
        self._operation = Operation(actor="retention", detail="DLQ_RETENTION_DAYS, DLQ_MAX_ENTRIES")
        lock = self._keys.dead_retention_lock
        self._lock = Lock(client=client, key=lock, name=self._operation.id, lasts_s=_LOCK_S)

    def sweep(self) -> int:
        """Archive and remove what is due, and return how many letters that were.

        Without DLQ_ARCHIVE_DIR nothing is removed; routes that are full are then named in the log.

        Raises:
            SweepError: Not all of it could be archived; what is not on the disk is still in Redis.
        """
        failures = self._mark_routes()
        if self._folder is None:
            for route, queue in self._store.full_routes().items():
                logger.error(
                    "route %s is not consumed: it has DLQ_MAX_ENTRIES=%s dead letters and there is no DLQ_ARCHIVE_DIR; "
                    "replay, discard or purge some (queue %s)", route, self._most, queue, extra={"route": route},
                )  # fmt: skip
            return 0
        if not self._lock.take():
            return 0
        try:
            return self._sweep_routes(self._folder, failures)
        finally:
            self._lock.release()

    def _sweep_routes(self, folder: Path, failures: dict[str, Exception]) -> int:
        removed = 0
        for route in self._store.routes():
            try:
                removed += self._sweep_route(route, folder)
            except (redis.ConnectionError, redis.TimeoutError):
                raise
            # What is wrong with one route's letters, keys or file keeps no other from the archive.
            except Exception as exc:  # noqa: BLE001
                failures[route] = exc
        if failures:
            error = SweepError(failures=failures)
            self._client.set(self._keys.dead_archive_problem, str(error).encode(errors="replace"), ex=_TOLD_S)
            raise error
        self._client.delete(self._keys.dead_archive_problem)
        return removed

    def _mark_routes(self) -> dict[str, Exception]:
        # A limit that was changed or taken away holds at once, also for a route on which nothing happens.
        limit = self._most if self._folder is None else None
        failures: dict[str, Exception] = {}
        for route in self._store.full_routes():
            try:
                if limit is None or int(self._client.zcard(self._keys.dead_by_time(route))) < limit:
                    pipe = self._client.pipeline()
                    pipe.hdel(self._keys.dead_full_routes, route)
                    pipe.hdel(self._keys.dead_counters(route), "limit")
                    pipe.execute()
            except redis.ResponseError as exc:
                # Somebody else's key under this name.
                failures[route] = exc
        return failures

    def _sweep_route(self, route: str, folder: Path) -> int:
        due = self._due(route)
        first = next(due, None)
        if first is None:
            return 0
        removed = 0
        path = folder / time.strftime(f"dead-letters-%Y%m%d-{file_name(route)}.jsonl", time.gmtime())
        with ArchiveFile(path) as file:
            batch = [first, *islice(due, _BATCH - 1)]
            while batch:
                ids = file.write(self._store.archived(batch))
                removed += len(
                    self._store.discard(
                        ids, actor="retention", operation=self._operation, action="archive", for_good=True
                    )
                )
                if not self._lock.take():
                    # A slow disk took longer than the lock lasts; another sweeper is at it.
                    break
                batch = list(islice(due, _BATCH))
        logger.warning("archived %d dead letters of %s to %s", removed, route, path, extra={"route": route})
        return removed

    def _due(self, route: str) -> Iterator[DeadLetter]:
        """Yield the letters that must go, the oldest first."""
        too_old = self._store.now() - self._days * 86_400 if self._days else 0.0
        there = int(self._client.zcard(self._keys.dead_by_time(route)))
        too_many = 0
        if self._most is not None and there >= self._most:
            too_many = there - self._most + max(1, int(self._most * _ROOM))
        for number, letter in enumerate(self._store.letters(LetterFilter(route=route), oldest_first=True)):
            if letter.died_at >= too_old and number >= too_many:
                return
            yield letter


def file_name(route: str) -> str:
    """Return a route's part of a file name: readable, short enough for any file system, and no other route's."""
    readable = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in route)
    return f"{readable[:_READABLE_LENGTH]}-{hashlib.sha256(route.encode(errors='surrogatepass')).hexdigest()[:12]}"
