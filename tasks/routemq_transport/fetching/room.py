"""What a worker takes beside what it has in hand: by number and size, and when a message has to run alone."""

from collections.abc import Callable

from routemq.lifecycle.moves import Alone
from routemq_transport.fetching.fetcher import MOST_BYTES, MOST_PER_FETCH, Fetched, Room

MOMENT_S = 0.010
"""What is run in this time need not be left to others."""

_USUAL_WINDOW = 32
_OTHERS_FIRST_S = 0.5
_FIRST_PATIENCE_S = 1.0
_PAUSE = 9
"""Times the patience that was in vain: free slots wait a tenth of the time at most."""


def window_of(asked: int, in_a_moment: int) -> int:
    """Return how many messages a worker may hold, 0 for any number.

    Of short runs it may be as many more as one fetch takes: to fetch, and to acknowledge, costs as much as to run some.

    Args:
        asked: What Celery says; less than usual is somebody's wish.
        in_a_moment: How many are run in `MOMENT_S`, at the pace of late.
    """
    if not _USUAL_WINDOW <= asked < MOST_PER_FETCH:
        return asked
    return max(asked, min(MOST_PER_FETCH, in_a_moment))


class Solitude:
    """When a worker that is busy waits for a message that has to run alone.

    Whoever has empty hands takes such a message at once. Who is busy leaves it where it is and goes on with other work;
    only when nobody has taken it for a moment, one takes it, fetches nothing more, and runs it as soon as its hands are
    empty. While the last of its tasks take long, it gives the message back and goes on for a while, and is more patient
    the next time: so free slots lose little, and the message is run in the end.

    Args:
        clock: Seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen_at: float | None = None
        self._not_before = 0.0
        self._patience_s = _FIRST_PATIENCE_S
        self._until: float | None = None

    @property
    def may_wait(self) -> bool:
        """Whether to take one beside other messages."""
        now = self._clock()
        return self._seen_at is not None and now >= max(self._not_before, self._seen_at + _OTHERS_FIRST_S)

    def left(self) -> None:
        """One was seen and left."""
        if self._seen_at is None:
            self._seen_at = self._clock()

    def none_left(self) -> None:
        """All queues were looked at, and there was none."""
        self._seen_at = None

    def taken(self) -> None:
        """One was taken, and waits for empty hands."""
        self._until = None

    def is_in_vain(self, *, slots_wait: bool) -> bool:
        """Return whether to give it back.

        Args:
            slots_wait: All that is in hand runs already, so that slots may be free.
        """
        if not slots_wait:
            self._until = None
            return False
        now = self._clock()
        if self._until is None:
            self._until = now + self._patience_s
        return now >= self._until

    def given_back(self) -> None:
        """It went back; for a while, others may try."""
        self._seen_at = None
        self._not_before = self._clock() + _PAUSE * self._patience_s
        self._patience_s *= 2

    def ran(self) -> None:
        """It is run now."""
        self._seen_at, self._patience_s = None, _FIRST_PATIENCE_S


class Appetite:
    """What to take beside what is in hand.

    Args:
        clock: Seconds that never jump.

    Attributes:
        solitude: When to wait for a message that has to run alone.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.solitude = Solitude(clock)
        self._full_at_bytes = MOST_BYTES

    def room(self, *, in_hand: int, held_bytes: int, window: int | None, all_run: Callable[[], bool]) -> Room | None:
        """Return what there is room for; None when there is none before something in hand is done.

        Args:
            in_hand: Messages.
            held_bytes: Their size.
            window: How many more may be taken, None for any number.
            all_run: Says whether no message in hand waits to be run, so that slots may be free.
        """
        waits = bool(in_hand)
        if held_bytes >= self._full_at_bytes:
            waits = not all_run()
            if waits:
                return None
        return Room(
            messages=MOST_PER_FETCH if window is None else min(window, MOST_PER_FETCH),
            bytes=MOST_BYTES - held_bytes,
            waits=waits,
            alone=self._alone(in_hand),
        )

    def note(self, fetched: Fetched, *, held_bytes: int) -> None:
        """Learn from what a fetch has left where it was.

        Args:
            held_bytes: The size of what was in hand before it; asked for when the next message was too large.
        """
        self._full_at_bytes = held_bytes if fetched.too_large else MOST_BYTES
        if fetched.alone == "left":
            self.solitude.left()
        elif fetched.complete:
            self.solitude.none_left()

    def _alone(self, in_hand: int) -> Alone:
        if not in_hand:
            return "first"
        return "last" if self.solitude.may_wait else "left"
