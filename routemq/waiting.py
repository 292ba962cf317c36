"""What waits for its time, looked at without being touched."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from routemq.lifecycle.scripts import KeyReports, UnusableKeyError
from routemq.queues import Keys, lists_of

_REPORTS = KeyReports()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that waits.

    Attributes:
        queue: Where it goes when it is due.
        due_at: When that is, in Unix seconds.
        headers: Celery's.
        properties: kombu's.
    """

    queue: str
    due_at: float
    headers: dict[str, Any]
    properties: dict[str, Any]

    @property
    def id(self) -> str:
        """The task's; empty of what has none."""
        name = self.headers.get("id")
        return name if isinstance(name, str) else ""


def first_waiting(client: "redis.Redis", keys: Keys, queues: Iterable[str], *, most: int) -> list[Waiting]:
    """Return what is due first, the next one first. Another program's key is reported, and hides nothing else.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    names = _lists(queues)
    with client.pipeline(transaction=False) as pipe:
        for _, name in names:
            pipe.zrange(keys.delayed(name), 0, most - 1, withscores=True)
        answers = _REPORTS.good(pipe.execute(raise_on_error=False), [])
    found = [
        waiting
        for (queue, _), answer in zip(names, answers, strict=True)
        for item, due_at in answer
        if (waiting := _read(queue, item, due_at)) is not None
    ]
    return sorted(found, key=lambda waiting: waiting.due_at)[:most]


def find_waiting(
    client: "redis.Redis", keys: Keys, queues: Iterable[str], ids: Iterable[str], *, within_s: float
) -> Iterator[Waiting]:
    """Search for messages by the ids of their tasks, for so long at most; another program's key as in `first_waiting`.

    Raises:
        redis.RedisError: Redis cannot be read.
    """
    wanted, until = set(ids), time.monotonic() + within_s
    for queue, name in _lists(queues):
        try:
            for item, due_at in client.zscan_iter(keys.delayed(name), count=1000):
                if not wanted or time.monotonic() > until:
                    return
                # A message is read only if it may be one of them; half a character is in none.
                is_one = any(each.encode(errors="replace") in item for each in wanted)
                waiting = _read(queue, item, due_at) if is_one else None
                if waiting is not None and waiting.id in wanted:
                    wanted.discard(waiting.id)
                    yield waiting
        except UnusableKeyError as exc:
            _REPORTS.log(exc)


def _lists(queues: Iterable[str]) -> list[tuple[str, str]]:
    return [(queue, name) for queue in queues for name in lists_of(queue)]


def _read(queue: str, item: bytes, due_at: float) -> Waiting | None:
    try:
        message = orjson.loads(item)
    except orjson.JSONDecodeError:
        return None
    parts = (message.get("headers"), message.get("properties")) if isinstance(message, dict) else (None, None)
    headers, properties = (part if isinstance(part, dict) else {} for part in parts)
    return Waiting(queue=queue, due_at=float(due_at), headers=headers, properties=properties) if headers else None
