"""When ingest lets messages come together."""

import time
from collections.abc import Callable

REST_S = 0.002
"""Where more than one comes in this time, they go on together: a turn costs every process more than a message does."""

FEW = 16
"""Of so many a turn is worth it: more are kept waiting for nothing."""


class Cadence:
    """Rests after a batch of few when another one is expected soon; a message that comes alone goes on at once.

    Args:
        clock: Seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent_at, self._until = float("-inf"), 0.0

    @property
    def rest_s(self) -> float:
        """For so many seconds nothing more is read or sent."""
        return max(0.0, self._until - self._clock())

    def sent(self, count: int) -> None:
        """A batch of so many messages goes out."""
        now = self._clock()
        one_by_one = count == 1 and now - self._sent_at >= REST_S
        self._until = now if one_by_one or count >= FEW else now + REST_S
        self._sent_at = now
