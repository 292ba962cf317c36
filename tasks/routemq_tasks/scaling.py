"""How many hands a pool should have. Pure: from what its queues need, and who else serves them."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

CLEAR_WITHIN_S = 10.0
"""What has piled up should be done within so long, beside what goes on coming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLoad:
    """What one queue asks for, and who else is there.

    Attributes:
        arrivals_per_s: Messages that come, retries included.
        run_s: How long one runs, on average; 0.0 when none was seen yet.
        backlog: Messages that could run now: on the queue, and in workers' hands where they wait for their turn.
        fixed: Hands of other workers that keep their number; of one with several queues, its part.
        most_of_others: The greatest numbers of the other workers that scale, added up.
    """

    arrivals_per_s: float
    run_s: float
    backlog: int
    fixed: float = 0.0
    most_of_others: int = 0


def wanted_hands(loads: Iterable[QueueLoad], *, least: int, most: int) -> int:
    """Return how many hands one worker should have: its share of what each of its queues needs.

    A message that comes needs a hand for as long as it runs, so `arrivals_per_s * run_s` hands are busy all the time.
    Of one queue without a backlog and of one worker this is `min(most, max(least, rate / rate of one hand))`.
    """
    needed = 0.0
    for load in loads:
        of_all = load.run_s * (load.arrivals_per_s + load.backlog / CLEAR_WITHIN_S)
        needed += max(0.0, of_all - load.fixed) * most / (most + load.most_of_others)
    # A hair above a whole number is that number.
    return min(most, max(least, math.ceil(needed - 1e-6)))


class Cooldown:
    """Grows at once, and shrinks to what was wanted most of late.

    Args:
        cooldown_s: How far back that is.
    """

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._wanted: deque[tuple[float, int]] = deque()

    def settle(self, wanted: int, *, now: float) -> int:
        """Take in what is wanted now, and return what to have.

        Args:
            now: On the monotonic clock.
        """
        # What is no greater than this will never be the greatest again.
        while self._wanted and self._wanted[-1][1] <= wanted:
            self._wanted.pop()
        self._wanted.append((now, wanted))
        while now - self._wanted[0][0] > self._cooldown_s:
            self._wanted.popleft()
        return self._wanted[0][1]
