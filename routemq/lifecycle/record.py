"""What Redis has of a message that a worker holds."""

import re
from dataclasses import dataclass

import orjson
import redis

from routemq.mark import Mark
from routemq.queues import Keys, prioritised

_RECORD = re.compile(rb'\[(.*),\s*"[^"]*",\s*("(?:[^"\\]|\\.)*")\]', re.DOTALL)

_PRIORITY = re.compile(r"routemq:[^:]*:\d+:(\d+)")
"""Ends a delivery tag of our transport."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldItem:
    """A message in a worker's hands.

    Attributes:
        item: The list item, without its mark.
        queue: The queue it was taken from, with its priority.
        at: Redis' time, Unix seconds.
    """

    item: bytes
    mark: Mark
    queue: str
    at: float

    @classmethod
    def read(cls, client: "redis.Redis", keys: Keys, tag: str) -> "HeldItem | None":
        """Return what is held under a delivery tag; None when nothing is.

        Raises:
            ValueError: It is not to be read.
        """
        pipe = client.pipeline(transaction=False)
        pipe.hget(keys.unacked, tag)
        pipe.time()
        record, (seconds, microseconds) = pipe.execute()
        if record is None:
            return None
        found = _RECORD.fullmatch(record)
        if found is None:
            raise ValueError("the record of a delivered message has another form")
        mark, item = Mark.split(found[1])
        queue, priority = orjson.loads(found[2]), _PRIORITY.fullmatch(tag)
        if priority is not None:
            queue = prioritised(queue, int(priority[1]))
        return cls(item=item, mark=mark, queue=queue, at=seconds + microseconds / 1e6)
