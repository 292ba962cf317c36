"""What is too old or too much goes to files, and only then from Redis."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Self

import redis

from routemq.dead_letters.archive import ArchivedLetter
from routemq.dead_letters.audit import Operation
from routemq.dead_letters.filters import LetterFilter
from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.store import DeadLetters
from routemq.errors import RouteMQError
from routemq.queues import Keys
from routemq.settings import Settings

logger = logging.getLogger(__name__)

_BATCH = 500
_LOCK_S = 60
"""A sweeper that is killed is replaced after this; a living one renews its lock with each batch."""

_ROOM = 0.1
"""How much of a full route is archived at once."""


class ArchiveError(RouteMQError):
    """A file for dead letters cannot be written."""

    def __init__(self, *, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"cannot write {path}: {problem}")


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
        count = store.count(LetterFilter(until=store.reader.now() - days * 86_400))
        return cls(count=count, days=days) if count else None


@dataclass(slots=True)
class ArchiveFile:
    """A file that dead letters are appended to; what `write` has returned for is on the disk."""

    path: Path
    _file: BinaryIO = field(init=False)

    def __enter__(self) -> Self:
        try:
            self._file = self.path.open("ab")
            if self._file.tell():
                # The process that wrote it before may have been killed within a line, whose letter is still in Redis.
                self._end_line()
        except OSError as exc:
            raise ArchiveError(path=self.path, problem=exc.strerror or str(exc)) from exc
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._file.close()

    def write(self, letters: Iterable[ArchivedLetter]) -> None:
        """Append the letters and return when they are on the disk.

        Raises:
            ArchiveError: They are not, or not all of them.
        """
        try:
            self._file.writelines(archived.to_line() for archived in letters)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise ArchiveError(path=self.path, problem=exc.strerror or str(exc)) from exc

    def _end_line(self) -> None:
        with self.path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            last = written.read(1)
        if last != b"\n":
            self._file.write(b"\n")


class Retention:
    """Keeps the store within `DLQ_RETENTION_DAYS` and `DLQ_MAX_ENTRIES`; only one process at a time does."""

    def __init__(self, settings: Settings, client: "redis.Redis") -> None:
        self._store = DeadLetters.of(settings, client, buries=False)
        self._client, self._keys = client, Keys(settings.key_prefix)
        self._days, self._most, self._folder = (
            settings.dlq_retention_days, settings.dlq_max_entries, settings.dlq_archive_dir
        )  # fmt: skip
        self._operation = Operation(actor="retention", detail="DLQ_RETENTION_DAYS, DLQ_MAX_ENTRIES")

    def sweep(self) -> int:
        """Archive and remove what is due, and return how many letters that were.

        Without DLQ_ARCHIVE_DIR nothing is removed; routes that are full are then named in the log.

        Raises:
            ArchiveError: The archive cannot be written; what is not on the disk is still in Redis.
        """
        self._mark_routes()
        if self._folder is None:
            for route, queue in self._store.full_routes().items():
                logger.error(
                    "route %s is not consumed: it has DLQ_MAX_ENTRIES=%s dead letters and there is no DLQ_ARCHIVE_DIR; "
                    "replay, discard or purge some (queue %s)", route, self._most, queue, extra={"route": route},
                )  # fmt: skip
            return 0
        if not self._client.set(self._keys.dead_retention_lock, self._operation.id, nx=True, ex=_LOCK_S):
            return 0
        try:
            return sum(self._sweep_route(route, self._folder) for route in self._store.reader.routes())
        finally:
            if self._client.get(self._keys.dead_retention_lock) == self._operation.id.encode():
                self._client.delete(self._keys.dead_retention_lock)

    def _mark_routes(self) -> None:
        # A limit that was changed or taken away holds at once, also for a route on which nothing happens.
        limit = self._most if self._folder is None else None
        for route in self._store.full_routes():
            if limit is None or int(self._client.zcard(self._keys.dead_by_time(route))) < limit:
                pipe = self._client.pipeline()
                pipe.hdel(self._keys.dead_full_routes, route)
                pipe.hdel(self._keys.dead_counters(route), "limit")
                pipe.execute()

    def _sweep_route(self, route: str, folder: Path) -> int:
        due = self._due(route)
        first = next(due, None)
        if first is None:
            return 0
        removed = 0
        path = folder / time.strftime(f"dead-letters-%Y%m%d-{_file_name(route)}.jsonl", time.gmtime())
        with ArchiveFile(path) as file:
            batch = [first, *islice(due, _BATCH - 1)]
            while batch:
                file.write(self._store.archived(batch))
                ids = [letter.id for letter in batch]
                removed += len(self._store.discard(ids, actor="retention", operation=self._operation, action="archive"))
                self._client.expire(self._keys.dead_retention_lock, _LOCK_S)
                batch = list(islice(due, _BATCH))
        logger.warning("archived %d dead letters of %s to %s", removed, route, path, extra={"route": route})
        return removed

    def _due(self, route: str) -> Iterator[DeadLetter]:
        """Yield the letters that must go, the oldest first."""
        too_old = self._store.reader.now() - self._days * 86_400 if self._days else 0.0
        there = int(self._client.zcard(self._keys.dead_by_time(route)))
        too_many = 0
        if self._most is not None and there >= self._most:
            too_many = there - self._most + max(1, int(self._most * _ROOM))
        for number, letter in enumerate(self._store.letters(LetterFilter(route=route), oldest_first=True)):
            if letter.died_at >= too_old and number >= too_many:
                return
            yield letter


def _file_name(route: str) -> str:
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in route)[:80]
