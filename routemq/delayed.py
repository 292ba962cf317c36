"""What is not to be run yet waits in Redis, so that it survives restarts and takes no prefetch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import orjson
import redis

from routemq.envelope import TaskMessage
from routemq.lifecycle.scripts import Script
from routemq.mark import Mark
from routemq.queues import Keys, prioritised

_MOST_PER_QUEUE = 500
"""Moved by one script; a longer one would keep every other client waiting."""

_RECORD = re.compile(rb'\[(.*),\s*"[^"]*",\s*("(?:[^"\\]|\\.)*")\]', re.DOTALL)

_PRIORITY = re.compile(r"routemq:[^:]*:\d+:(\d+)")
"""Ends a delivery tag of our transport."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldItem:
    """What Redis has of a message that a worker holds.

    Attributes:
        item: The list item, without its mark.
        queue: The queue it was taken from, with its priority.
        at: Redis' time, Unix seconds.
    """

    item: bytes
    mark: Mark
    queue: str
    at: float


class DelayedRetries:
    """The delayed sets of all queues. Due times are counted by Redis' clock, never by a worker's."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._retry_later = Script(client, "retry_later")
        self._give_back = Script(client, "give_back")
        self._promote = Script(client, "promote")

    def retry_later(self, message: TaskMessage, *, delivery_tag: str, delay_s: float) -> bool:
        """Take the message of this delivery tag from its worker and let its next run wait, in one atomic step.

        Args:
            message: The next run's message, as `TaskMessage.failed` makes it.

        Returns:
            False when the tag is not held any more; then nothing was done.
        """
        keys = self._keys
        held = self._retry_later(
            keys=[
                keys.unacked,
                keys.unacked_index,
                keys.delayed(message.queue),
                keys.counters(message.route),
                keys.counted_routes,
            ],
            args=[delivery_tag, message.encode(), round(delay_s * 1000), message.route],
        )
        return bool(held)

    def held(self, delivery_tag: str) -> HeldItem | None:
        """Return what is held under a delivery tag; None when nothing is.

        Raises:
            ValueError: It is not to be read.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.hget(self._keys.unacked, delivery_tag)
        pipe.time()
        record, (seconds, microseconds) = pipe.execute()
        if record is None:
            return None
        found = _RECORD.fullmatch(record)
        if found is None:
            raise ValueError("the record of a delivered message has another form")
        mark, item = Mark.split(found[1])
        queue, priority = orjson.loads(found[2]), _PRIORITY.fullmatch(delivery_tag)
        if priority is not None:
            queue = prioritised(queue, int(priority[1]))
        return HeldItem(item=item, mark=mark, queue=queue, at=seconds + microseconds / 1e6)

    def give_back(self, found: HeldItem, mark: Mark, *, delivery_tag: str, delay_s: float) -> bool:
        """Let a message that nobody ran wait for the next worker, byte for byte but for its mark.

        Returns:
            False when the tag is not held any more; then nothing was done.
        """
        keys = self._keys
        given = self._give_back(
            keys=[keys.unacked, keys.unacked_index, keys.delayed(found.queue), keys.queue(found.queue)],
            args=[delivery_tag, mark.on(found.item), round(delay_s * 1000)],
        )
        return bool(given)

    def promote(self, queues: Sequence[str]) -> float | None:
        """Move the retries that are due to the back of their queues.

        Returns:
            Seconds until the next one is due, 0.0 when more are due than one step moves, None when none waits.
        """
        if not queues:
            return None
        pairs = [key for queue in queues for key in (self._keys.delayed(queue), self._keys.queue(queue))]
        wait_ms = cast("int", self._promote(keys=pairs, args=[_MOST_PER_QUEUE]))
        return None if wait_ms < 0 else wait_ms / 1000
