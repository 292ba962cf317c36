"""How long to wait after each failure in a row, and when to speak of it."""

import math
import time


class Pauses:
    """Growing pauses, and a word at the first failure, at another cause, and now and then.

    Args:
        first_s: The first pause; each doubles.
        longest_s: None is longer.
        remind_s: The same cause is spoken of again after so long.
    """

    def __init__(self, *, first_s: float = 0.25, longest_s: float = 4.0, remind_s: float = 30.0) -> None:
        self._first_s, self._longest_s, self._remind_s = first_s, longest_s, remind_s
        self._next_s = first_s
        self._cause: str | None = None
        self._spoken_at = 0.0

    def next_s(self) -> float:
        """Return the pause after one more failure."""
        pause_s, self._next_s = self._next_s, min(self._longest_s, self._next_s * 2)
        return pause_s

    def speak(self, cause: str) -> bool:
        """Return whether to say this cause now."""
        now = time.monotonic()
        if cause == self._cause and now - self._spoken_at < self._remind_s:
            return False
        self._cause, self._spoken_at = cause, now
        return True

    def over(self) -> None:
        """It works again."""
        self._next_s, self._cause = self._first_s, None


class Reminders:
    """When each of several complaints, which come and go side by side, is due: at first, and now and then.

    Args:
        remind_s: The same complaint is due again after so long.
    """

    def __init__(self, remind_s: float) -> None:
        self._remind_s = remind_s
        self._spoken_at: dict[str, float] = {}

    def speak(self, complaint: str) -> bool:
        """Return whether to say this one now."""
        now = time.monotonic()
        if now < self._spoken_at.get(complaint, -math.inf) + self._remind_s:
            return False
        recent = {known: at for known, at in self._spoken_at.items() if now < at + self._remind_s}
        self._spoken_at = {**recent, complaint: now}
        return True
