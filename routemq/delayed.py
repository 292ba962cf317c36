"""Retries that are not due: they wait in Redis, so that they survive restarts and take no prefetch."""

from collections.abc import Sequence
from typing import cast

import redis

from routemq.envelope import TaskMessage
from routemq.lifecycle.scripts import Script
from routemq.queues import Keys

_MOST_PER_QUEUE = 500
"""Moved by one script; a longer one would keep every other client waiting."""


class DelayedRetries:
    """The delayed sets of all queues. Due times are counted by Redis' clock, never by a worker's."""

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._keys = keys
        self._retry_later = Script(client, "retry_later")
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
