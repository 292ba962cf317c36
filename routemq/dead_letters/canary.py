"""What became of the first messages of a replay."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import redis

from routemq.dead_letters.letter import letter_id
from routemq.queues import Keys

_CHUNK = 1000
_MOST_LOOKED_AT = 200_000
"""Messages of one queue that are searched through for a canary."""

_WATCHED_S = 6 * 3600
"""How long canaries are watched whose replay was killed."""

_DIED_AGAIN = 1 / 5

DONE = b"done"
"""What the transport's script `acknowledge.lua` writes."""


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
            return f"{self.died} of {self.count} canaries died again"
        if self.waiting:
            return f"{self.waiting} of {self.count} canaries have not run yet (does a worker consume {names}?)"
        if self.died + self.unknown > self.count * _DIED_AGAIN and not trusts_absence:
            return (
                f"{self.unknown} of {self.count} canaries are neither done nor dead nor anywhere else (were they taken "
                f"off {names}, or does a worker with Celery's own transport consume it?)"
            )
        return None


@dataclass(slots=True, kw_only=True)
class Canary:
    """Watches messages that are replayed.

    What is to be watched must be said before it is replayed: then the script that acknowledges a message notes for
    each of these that it is done. Only what is neither done nor dead is searched for, and is unknown when it was
    missed twice, because it may move while we look.
    """

    client: "redis.Redis"
    keys: Keys
    queues: Collection[str] = ()
    _letters: dict[str, str] = field(default_factory=dict)
    _missed: set[str] = field(default_factory=set)

    def watch(self, letter_ids: Iterable[str]) -> None:
        """Watch the messages that these dead letters become when they are replayed."""
        self._letters = {run_of(name): name for name in map(next_letter, letter_ids)}
        pipe = self.client.pipeline()
        for run in self._letters:
            pipe.hsetnx(self.keys.dead_canaries, run, "")
        pipe.expire(self.keys.dead_canaries, _WATCHED_S)
        pipe.execute()

    def replayed(self, letter_ids: Iterable[str], queues: Collection[str]) -> None:
        """Leave out what was not replayed after all.

        Args:
            queues: Where the others went.
        """
        watched = {run_of(next_letter(name)) for name in letter_ids}
        self._forget(set(self._letters) - watched)
        self._letters = {run: name for run, name in self._letters.items() if run in watched}
        self.queues = queues

    def look(self) -> CanaryReport:
        """Return how it stands."""
        runs = list(self._letters)
        if not runs:
            return CanaryReport(died=0, done=0, waiting=0, unknown=0)
        pipe = self.client.pipeline(transaction=False)
        pipe.hmget(self.keys.dead_canaries, runs)
        pipe.hmget(self.keys.dead_entries, list(self._letters.values()))
        notes, letters = pipe.execute()
        died = {run for run, letter in zip(runs, letters, strict=True) if letter is not None}
        done = {run for run, note in zip(runs, notes, strict=True) if note == DONE} - died
        undecided = set(runs) - died - done
        missed = self._not_found(undecided) if undecided else set()
        unknown, self._missed = missed & self._missed, missed
        return CanaryReport(
            died=len(died), done=len(done), waiting=len(undecided) - len(unknown), unknown=len(unknown)
        )  # fmt: skip

    def _forget(self, runs: Collection[str]) -> None:
        if runs:
            self.client.hdel(self.keys.dead_canaries, *runs)

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
        for first in range(0, _MOST_LOOKED_AT, _CHUNK):
            items = cast("list[bytes]", client.lrange(keys.queue(queue), first, first + _CHUNK - 1))
            yield from items
            if len(items) < _CHUNK:
                break
    for _, record in client.hscan_iter(keys.unacked, count=_CHUNK):
        yield cast("bytes", record)
    for queue in queues:
        for item, _ in client.zscan_iter(keys.delayed(queue), count=_CHUNK):
            yield cast("bytes", item)


def next_letter(name: str) -> str:
    """Return the letter that the message of this one becomes when it is replayed and dies again."""
    task_id, _, generation = name.rpartition(":")
    return letter_id(task_id, int(generation.partition("~")[0]) + 1)


def run_of(name: str) -> str:
    """Return how delivery tags of the message begin that this letter is, or would be."""
    task_id, _, generation = name.rpartition(":")
    return f"{task_id}.{generation}"
