"""What waits for its time, looked at without being touched."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from routemq.queues import Keys, lists_of


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


def first_waiting(client: "redis.Redis", keys: Keys, queues: Iterable[str], *, most: int) -> list[Waiting]:
    """Return what is due first, the next one first."""
    names = _lists(queues)
    with client.pipeline(transaction=False) as pipe:
        for _, name in names:
            pipe.zrange(keys.delayed(name), 0, most - 1, withscores=True)
        answers = pipe.execute(raise_on_error=False)
    found = [
        waiting
        for (queue, _), answer in zip(names, answers, strict=True)
        if isinstance(answer, list)
        for item, due_at in answer
        if (waiting := _read(queue, item, due_at)) is not None
    ]
    return sorted(found, key=lambda waiting: waiting.due_at)[:most]


def find_waiting(
    client: "redis.Redis", keys: Keys, queues: Iterable[str], ids: Iterable[str], *, within_s: float
) -> Iterator[Waiting]:
    """Search for messages by the ids of their tasks, for so long at most."""
    wanted, until = set(ids), time.monotonic() + within_s
    for queue, name in _lists(queues):
        # What lies there of another application is no set, and nothing to be found in.
        with contextlib.suppress(redis.ResponseError):
            for item, due_at in client.zscan_iter(keys.delayed(name), count=1000):
                if not wanted or time.monotonic() > until:
                    return
                waiting = _read(queue, item, due_at) if any(each.encode() in item for each in wanted) else None
                if waiting is not None and waiting.headers.get("id") in wanted:
                    wanted.discard(waiting.headers["id"])
                    yield waiting


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
