"""What became of the first messages of a replay."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import redis

from routemq.dead_letters.queued_items import queued_items
from routemq.dead_letters.watched import WatchedMessages, next_letter, next_run
from routemq.queues import Keys
from routemq.text import plural

_CHUNK = 1000
_MOST_LOOKED_AT = 200_000
"""Messages of one queue that are searched through for a canary."""

_DIED_AGAIN = 1 / 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReport:
    """How the watched messages stand.

    Attributes:
        died: They are dead letters again.
        done: A worker was done with them.
        waiting: They wait in their queue or for their next run, or a worker has them.
        unknown: None of these: a worker with Celery's own transport, which does not tell, was done with them, or they
            were taken off their queue.
    """

    died: int
    done: int
    waiting: int
    unknown: int

    @property
    def count(self) -> int:
        """How many are watched."""
        return self.died + self.done + self.waiting + self.unknown

    @property
    def is_undecided(self) -> bool:
        """Whether it is worth while to wait."""
        return self.waiting > 0 and self.died <= self.count * _DIED_AGAIN

    def problem(self, queues: Collection[str], *, trusts_absence: bool) -> str | None:
        """Return why the others had better stay where they are; None when they may follow."""
        names = ", ".join(sorted(queues))
        if self.died > self.count * _DIED_AGAIN:
            return f"{self.died} of {plural(self.count, 'canary', 'canaries')} died again"
        if self.waiting:
            have = "canary has" if self.count == 1 else "canaries have"
            return f"{self.waiting} of {self.count} {have} not run yet (does a worker consume {names}?)"
        if self.died + self.unknown > self.count * _DIED_AGAIN and not trusts_absence:
            are = "canary is" if self.count == 1 else "canaries are"
            return (
                f"{self.unknown} of {self.count} {are} neither done nor dead nor anywhere else (were they taken "
                f"off {names}, or does a worker with Celery's own transport consume it?)"
            )
        return None


@dataclass(slots=True, kw_only=True)
class Canary:
    """Looks what becomes of some messages that were replayed, and are watched.

    Only what is neither done nor dead is searched for, and is unknown when it was missed twice, because it may move
    while we look.

    Attributes:
        letters: The letters that they were.
        queues: Where they went.
    """

    client: "redis.Redis"
    keys: Keys
    letters: Sequence[str]
    queues: Collection[str]
    _missed: set[str] = field(default_factory=set)

    def look(self) -> CanaryReport:
        """Return how it stands."""
        if not self.letters:
            return CanaryReport(died=0, done=0, waiting=0, unknown=0)
        died, done = set[str](), set[str]()
        notes = WatchedMessages(self.client, self.keys).notes(self.letters)
        buried = cast("list[object]", self.client.hmget(self.keys.dead_entries, list(map(next_letter, self.letters))))
        for name, note, letter in zip(self.letters, notes, buried, strict=True):
            if letter is not None or (note is not None and note.state == "died"):
                died.add(name)
            elif note is not None and note.state == "done":
                done.add(name)
        undecided = {next_run(name) for name in set(self.letters) - died - done}
        missed = self._not_found(undecided) if undecided else set()
        unknown, self._missed = missed & self._missed, missed
        return CanaryReport(
            died=len(died), done=len(done), waiting=len(undecided) - len(unknown), unknown=len(unknown)
        )  # fmt: skip

    def _not_found(self, runs: Collection[str]) -> set[str]:
        """Return those that are neither queued, nor in a worker's hands, nor waiting for their next run."""
        left = {run.rpartition(".")[0].encode() for run in runs}
        pattern = re.compile(b"|".join(re.escape(task_id) for task_id in left))
        for item in messages_of(self.client, self.keys, self.queues):
            left.difference_update(pattern.findall(item))
            if not left:
                return set()
        return {run for run in runs if run.rpartition(".")[0].encode() in left}


def messages_of(client: "redis.Redis", keys: Keys, queues: Collection[str]) -> Iterator[bytes]:
    """Yield what is on some queues, in workers' hands and waiting for its time, as far as one can look.

    In the order in which a message moves, so that one that moves on is met again.
    """
    for queue in queues:
        yield from queued_items(client, keys.queue(queue), _MOST_LOOKED_AT)
    for _, record in client.hscan_iter(keys.unacked, count=_CHUNK):
        yield cast("bytes", record)
    for queue in queues:
        for item, _ in client.zscan_iter(keys.delayed(queue), count=_CHUNK):
            yield cast("bytes", item)
