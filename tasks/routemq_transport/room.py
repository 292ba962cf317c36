"""What a worker takes beside what it has in hand: by size, and when a message has to run alone."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from routemq.lifecycle.moves import Alone

MOST_BYTES = 32 * 1024 * 1024
"""Of list items in one worker's hands. A slot that is free gets a larger message all the same."""

_OTHERS_FIRST_S = 0.5
_FIRST_PATIENCE_S = 1.0
_PAUSE = 9
"""Times the patience that was in vain: free slots wait a tenth of the time at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a fetch may take.

    Attributes:
        messages: At most.
        bytes: At most, but for one message that is larger when nothing waits.
        waits: Whether a message in hand waits to be run.
        alone: One that has to run alone is left, or taken if it is the first, or taken beside others as the last.
    """

    messages: int
    bytes: int = MOST_BYTES
    waits: bool = False
    alone: Alone = "first"


class Solitude:
    """When a worker that is busy waits for a message that has to run alone.

    Whoever has empty hands takes such a message at once. Who is busy leaves it where it is and goes on with other work;
    only when nobody has taken it for a moment, one takes it, fetches nothing more, and runs it as soon as its hands are
    empty. While the last of its tasks take long, it gives the message back and goes on for a while, and is more patient
    the next time: so free slots lose little, and the message is run in the end.

    Args:
        monotonic: The clock.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen_at: float | None = None
        self._not_before = 0.0
        self._patience_s = _FIRST_PATIENCE_S
        self._until: float | None = None

    @property
    def may_wait(self) -> bool:
        """Whether to take one beside other messages."""
        now = self._monotonic()
        return self._seen_at is not None and now >= max(self._not_before, self._seen_at + _OTHERS_FIRST_S)

    def left(self) -> None:
        """One was seen and left."""
        if self._seen_at is None:
            self._seen_at = self._monotonic()

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
        now = self._monotonic()
        if self._until is None:
            self._until = now + self._patience_s
        return now >= self._until

    def given_back(self) -> None:
        """It went back; for a while, others may try."""
        self._seen_at = None
        self._not_before = self._monotonic() + _PAUSE * self._patience_s
        self._patience_s *= 2

    def ran(self) -> None:
        """It is run now."""
        self._seen_at, self._patience_s = None, _FIRST_PATIENCE_S
