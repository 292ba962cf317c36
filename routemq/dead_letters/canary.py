"""What became of the first messages of a replay."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import cast

import redis

from routemq.dead_letters.letter import letter_id
from routemq.queues import Keys

_CHUNK = 1000
_MOST_LOOKED_AT = 200_000
"""Messages of one queue; behind a longer backlog a canary counts as waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReport:
    """How many of the watched messages have died again, were done, or have neither yet."""

    died: int
    done: int
    waiting: int


@dataclass(slots=True, kw_only=True)
class Canary:
    """Watches messages that were just replayed.

    Nothing records a success by its message, so a message is done when it is neither queued, nor in a worker's hands,
    nor waiting for its next run, nor dead; seen twice, because it may move while we look.

    Attributes:
        replayed: Ids of the dead letters that they were.
        queues: The queues they went to.
    """

    client: "redis.Redis"
    keys: Keys
    replayed: Collection[str]
    queues: Collection[str]
    _missed: set[str] = field(default_factory=set)

    def look(self) -> CanaryReport:
        """Return how it stands."""
        following = {_task_id(name): _next_letter(name) for name in self.replayed}
        alive = self._seen(following)
        flags = self.client.hmget(self.keys.dead_entries, list(following.values()))
        died = {
            task for task, description in zip(following, cast("list[bytes | None]", flags), strict=True) if description
        }
        missed = set(following) - alive - died
        done, self._missed = missed & self._missed, missed
        return CanaryReport(died=len(died), done=len(done), waiting=len(following) - len(died) - len(done))

    def _seen(self, task_ids: Collection[str]) -> set[str]:
        pattern = re.compile("|".join(re.escape(name) for name in task_ids).encode())
        return {found.decode() for item in self._messages() for found in pattern.findall(item)}

    def _messages(self) -> Iterator[bytes]:
        # In the order in which a message moves, so that one that moves on is met again.
        for queue in self.queues:
            for first in range(0, _MOST_LOOKED_AT, _CHUNK):
                items = cast("list[bytes]", self.client.lrange(self.keys.queue(queue), first, first + _CHUNK - 1))
                yield from items
                if len(items) < _CHUNK:
                    break
        for _, record in self.client.hscan_iter(self.keys.unacked, count=_CHUNK):
            yield cast("bytes", record)
        for queue in self.queues:
            for item, _ in self.client.zscan_iter(self.keys.delayed(queue), count=_CHUNK):
                yield cast("bytes", item)


def _task_id(name: str) -> str:
    return name.rpartition(":")[0]


def _next_letter(name: str) -> str:
    task_id, _, generation = name.rpartition(":")
    return letter_id(task_id, int(generation.partition("~")[0]) + 1)
