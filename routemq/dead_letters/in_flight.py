"""Where a message is that was replayed, and of which nothing else is known."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import redis

from routemq.dead_letters.queued_items import queued_items
from routemq.envelope import TaskMessage
from routemq.errors import EnvelopeError
from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.queues import Keys

_MOST_LOOKED_AT = 20_000
_MOST_BYTES = 64 * 1024 * 1024
"""Of one queue: a page asks every two seconds."""
_CHUNK = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Where a message is.

    Attributes:
        state: `taken` by a worker that has not started it; `aside` with its paused route; `far` behind so many others
            that nobody looks further.
        topic: Its topic, where that was read.
        due_at: When it runs again, Unix seconds, while it is retrying.
        failures: How often it has failed since it was replayed.
        error: What it failed with last.
    """

    state: Literal["waiting", "taken", "running", "retrying", "aside", "far"]
    topic: str | None = None
    due_at: float | None = None
    failures: int = 0
    error: str | None = None

    @classmethod
    def find(cls, client: "redis.Redis", keys: Keys, run: str, queues: Collection[str]) -> "InFlight | None":
        """Look for a message; None when it is nowhere.

        Args:
            run: How its delivery tags begin.
            queues: Where it may be.
        """
        # Once more, because it may move while we look.
        return cls._look(client, keys, run, queues) or cls._look(client, keys, run, queues)

    @classmethod
    def _look(cls, client: "redis.Redis", keys: Keys, run: str, queues: Collection[str]) -> "InFlight | None":
        tag = re.compile(rb'"delivery_tag": ?"' + re.escape(run.encode()) + rb'\.\d+"')
        is_far = False
        for queue in queues:
            count, size = 0, 0
            for item in queued_items(client, keys.queue(queue), _MOST_LOOKED_AT):
                if tag.search(item):
                    return cls._of(item, "waiting")
                count, size = count + 1, size + len(item)
                if size >= _MOST_BYTES:
                    break
            is_far = is_far or count == _MOST_LOOKED_AT or size >= _MOST_BYTES
        for name, record in islice(client.hscan_iter(keys.unacked, count=_CHUNK), _MOST_LOOKED_AT):
            if tag.search(record):
                return cls(state="taken" if client.zscore(keys.started, name) is None else "running")
        for queue in queues:
            for item, due_at in islice(client.zscan_iter(keys.delayed(queue), count=_CHUNK), _MOST_LOOKED_AT):
                if tag.search(item):
                    is_aside = due_at >= SET_ASIDE_S
                    return cls._of(item, "aside" if is_aside else "retrying", None if is_aside else due_at)
        return cls(state="far") if is_far else None

    @classmethod
    def _of(
        cls, item: bytes, state: Literal["waiting", "retrying", "aside"], due_at: float | None = None
    ) -> "InFlight":
        try:
            task = TaskMessage.decode(item)
        except EnvelopeError:
            return cls(state=state, due_at=due_at)
        error = task.failures[-1].error if task.failures else None
        return cls(state=state, topic=task.envelope.topic, due_at=due_at, failures=task.retries, error=error)
