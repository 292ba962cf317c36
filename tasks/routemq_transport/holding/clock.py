"""Whether Redis' clock can be believed when it says that a lease has run out."""

import time
from collections.abc import Callable


class SteadyClock:
    """Redis' clock beside this machine's, which never jumps.

    Leases are times of Redis' clock. When it jumps ahead, or when Redis was away and nobody could renew, those of every
    live worker look as if they had run out. So it is believed only after it has gone evenly, and Redis was there, for
    so long that every live worker has renewed.

    Args:
        lease_s: How long a lease lasts.
        renewed_every_s: How often each worker renews.
        monotonic: This machine's clock.
    """

    def __init__(
        self, *, lease_s: float, renewed_every_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._wait_s, self._longest_gap_s = max(1.0, 2 * renewed_every_s), lease_s / 3
        # Less than it takes, together with such a gap, to let a lease that is renewed in time run out.
        self._tolerance_s = max(0.5, lease_s / 6)
        self._monotonic = monotonic
        self._seen: tuple[float, float] | None = None
        self._even_since = 0.0

    @property
    def believed_in_s(self) -> float:
        """Seconds until it can be believed; 0 when it can."""
        return max(0.0, self._even_since + self._wait_s - self._monotonic()) if self._seen else self._wait_s

    @property
    def latest(self) -> float:
        """The latest time that it shows if it has not jumped since it was seen."""
        redis_at, at = self._seen or (0.0, 0.0)
        return redis_at + self._monotonic() - at + self._tolerance_s

    def saw(self, redis_at: float) -> bool:
        """Note what it showed, Unix seconds; False when it has jumped since, or was not seen for long."""
        now, seen = self._monotonic(), self._seen
        self._seen = redis_at, now
        if seen is None:
            self._even_since = now
            return True
        passed_s = now - seen[1]
        if passed_s <= self._longest_gap_s and abs(redis_at - seen[0] - passed_s) <= self._tolerance_s:
            return True
        self._even_since = now
        return False
