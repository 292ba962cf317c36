"""When to fetch: at once while messages come, seldom while none do, later and later while Redis refuses."""

from collections.abc import Callable

from routemq.pauses import Pauses
from routemq_transport.fetching.fetcher import Fetched

IDLE_S = 1.0
"""An idle worker looks for itself this often, should a wake-up be lost."""

IDLE_UNTOLD_S = 0.05
"""The same with a Redis that does not tell."""

CADENCE_S = 0.010
"""A worker whose window was filled waits this long at most for half of it to be free: fetches stay large."""


class Pace:
    """When the next fetch is due.

    Args:
        clock: Seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._not_before = self._filled_at = 0.0
        self._found_all = True
        self._changed = False
        self._refusals = Pauses()

    @property
    def due_in_s(self) -> float:
        """Seconds until the next fetch; 0 when it is due."""
        return max(0.0, self._not_before - self._clock())

    @property
    def may_sleep(self) -> bool:
        """Whether the queues were found empty: the next look is the last one before Redis tells of a change."""
        return self._found_all

    def has_room(self, window: int | None, in_hand: int) -> bool:
        """Return whether to fill the prefetch window now.

        Credit trickles back one message at a time; fetching at once would make every fetch one message.
        """
        if not window:
            return True
        return in_hand < window and (in_hand <= window // 2 or self._clock() - self._filled_at >= CADENCE_S)

    def sent(self) -> None:
        """A fetch is on its way."""
        self._changed = False

    def found(self, fetched: Fetched, *, is_told: bool) -> None:
        """Its reply has come.

        Args:
            is_told: Whether Redis tells of changes.
        """
        self._refusals.over()
        if fetched.too_large or (fetched.items and not fetched.armed):
            self._not_before = 0.0
        else:
            idle_s = IDLE_S if is_told else IDLE_UNTOLD_S
            if fetched.next_due_s is not None:
                idle_s = min(idle_s, fetched.next_due_s)
            if not self._found_all or self._changed:
                # The first look at empty queues was not told to Redis; the next one is. And what came between a look
                # and the reading of its reply has been told already, and is not told again.
                idle_s = 0.0
            self._not_before = max(self._not_before, self._clock() + idle_s)
        self._found_all = fetched.complete
        if not fetched.complete:
            self._filled_at = self._clock()

    def refused(self, why: str) -> bool:
        """Redis refuses; return whether to speak of it now."""
        self._not_before = self._clock() + self._refusals.next_s()
        return self._refusals.speak(why)

    def woken(self) -> None:
        """Something has changed."""
        self._not_before = 0.0
        self._changed = True
