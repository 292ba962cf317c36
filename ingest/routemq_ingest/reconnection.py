"""When a session connects again."""

import random
from collections.abc import Callable

_RETRY_S = 1.0
"""A broker that is away is tried so often, however long it takes: some lose messages until we SUBSCRIBE again."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 15.0
"""Who is refused, or loses the connection again and again, is a burden to a broker that is there."""
_STEADY_S = 30.0
_QUICK_LOSSES = 3


def _spread() -> float:
    return random.uniform(0.75, 1.25)  # noqa: S311  only spreads the load of a fleet


class Reconnection:
    """Steadily with a broker that does not answer, later and later with one that does.

    Times are seconds that never jump, as the caller's clock has them.

    Args:
        spread: A factor for each delay.
    """

    def __init__(self, *, spread: Callable[[], float] = _spread) -> None:
        self._spread = spread
        self._not_before = self._accepted_at = 0.0
        self._setbacks = 0
        self._is_answered = False

    @property
    def is_answered(self) -> bool:
        """Whether the broker has answered the last CONNECT, be it with a refusal."""
        return self._is_answered

    def is_due(self, now: float) -> bool:
        """Return whether to connect."""
        return now >= self._not_before

    def tried(self) -> None:
        """A connection is made."""
        self._is_answered = False

    def answered(self) -> None:
        """CONNACK is there."""
        self._is_answered = True

    def accepted(self, now: float) -> None:
        """The connection serves from now on."""
        self._accepted_at = now

    def ended(self, now: float) -> None:
        """A connection that served is over; one that was steady makes up for those before."""
        if now - self._accepted_at > _STEADY_S:
            self._setbacks = 0

    def put_off(self, now: float) -> float:
        """Wait before the next one, and return for how many seconds."""
        delay_s = _RETRY_S
        if self._is_answered:
            delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._setbacks, 10))
            self._setbacks += 1
        delay_s *= self._spread()
        self._not_before = now + delay_s
        return delay_s

    def hurry(self) -> None:
        """The next one is due at once."""
        self._not_before = 0.0

    def is_short_again(self, now: float) -> bool:
        """Return whether a connection that ends now was one of several that ended soon."""
        return self._setbacks >= _QUICK_LOSSES and now - self._accepted_at < _STEADY_S
