"""Whether ingest may take messages, and when to try again if not."""

import logging
import time
from collections.abc import Callable, Mapping

import redis

from routemq.refusals import explain
from routemq.text import error_line

logger = logging.getLogger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 2.0
_REMIND_S = 30.0
_RESUME_SHARE = 0.9
"""A queue that was too long must fall to this share of the limit, so that ingest does not stop and go."""


class Flow:
    """Stops the taking of messages while Redis is away or full, or a queue is too long. The broker keeps them so long.

    Args:
        clock: Seconds that never jump.

    Attributes:
        pause: Why no messages are taken, None while they flow.
        retry_at: When to try again, by this clock.
        paused_s: Seconds of all pauses that are over.
    """

    def __init__(self, *, max_queue_length: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.pause: str | None = "redis has not answered yet"
        self.retry_at = 0.0
        self.paused_s = 0.0
        self.long_queues: dict[str, int] = {}
        self._max_queue_length = max_queue_length
        self._since = self._clock()
        self._delay_s = _FIRST_DELAY_S
        self._reminded_at = 0.0

    def failed(self, error: BaseException) -> None:
        """Redis did not take it."""
        self._stop(explain(error) if isinstance(error, (redis.RedisError, OSError)) else error_line(error))

    def delivered(self, lengths: Mapping[str, int]) -> None:
        """Redis took it and said how long the queues are now; goes on if none is too long."""
        for queue, length in lengths.items():
            limit = self._max_queue_length * (_RESUME_SHARE if queue in self.long_queues else 1)
            if length > limit:
                self.long_queues[queue] = length
            else:
                self.long_queues.pop(queue, None)
        if self.long_queues:
            queues = ", ".join(f"{queue} ({length})" for queue, length in self.long_queues.items())
            self._stop(
                f"longer than INGEST_MAX_QUEUE_LENGTH={self._max_queue_length}: {queues}; "
                "start more workers, or see why they stand still (a paused route, retries?)"
            )
        elif self.pause is not None:
            now = self._clock()
            self.paused_s += now - self._since
            if self._reminded_at:
                logger.warning("taking messages again, after a pause of %.1f s", now - self._since)
            self.pause, self._delay_s = None, _FIRST_DELAY_S

    def _stop(self, why: str) -> None:
        now = self._clock()
        if self.pause is None:
            self._since, self._reminded_at = now, 0.0
        other_cause = self.pause is not None and self.pause.partition(":")[0] != why.partition(":")[0]
        if now - self._reminded_at >= _REMIND_S or self._reminded_at == 0.0 or other_cause:
            self._reminded_at = now
            logger.error("taking no messages, the mqtt broker keeps them meanwhile: %s", why)
        self.pause = why
        self.retry_at = now + self._delay_s
        self._delay_s = min(_LONGEST_DELAY_S, self._delay_s * 2)
