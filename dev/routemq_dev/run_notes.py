"""What a developer is told of runs beside the log: retries are folded, and a death says how to look at it."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from routemq.text import plural

_FOLD_S = 10.0
_DEATHS_APART_S = 2.0

_RETRY = re.compile(r"message \S+ \((?P<route>.+?)(?:, topic .*?)?\) failed in run \d+, next in ")
_DEATH = re.compile(r"message (?P<id>\S+) \(.*?\) is dead, reason ")


@dataclass(slots=True)
class _Fold:
    """Retries of a route since its first was shown."""

    name: str
    since: float
    more: int = 0


class RunNotes:
    """Reads the lines of workers; safe from several threads.

    Args:
        say: Shows a line under the name of a process.
        say_dead: Shows how to look at the dead letter of a message's id.
    """

    def __init__(self, say: Callable[[str, str], None], say_dead: Callable[[str], None]) -> None:
        self._say, self._say_dead = say, say_dead
        self._lock = threading.Lock()
        self._folds: dict[str, _Fold] = {}
        self._death_told_at = 0.0

    def is_folded(self, name: str, line: str) -> bool:
        """Return whether a line is one more retry, which is only counted."""
        found = _RETRY.search(line)
        if found is None:
            return False
        with self._lock:
            fold = self._folds.get(found["route"])
            if fold is None:
                self._folds[found["route"]] = _Fold(name, time.monotonic())
                timer = threading.Timer(_FOLD_S, self.flush)
                timer.daemon = True
                timer.start()
                return False
            fold.more += 1
            return True

    def shown(self, line: str) -> None:
        """A line was shown: of a death, say how to look at it; of many in a row, at the first."""
        found = _DEATH.search(line)
        if found is not None and time.monotonic() - self._death_told_at >= _DEATHS_APART_S:
            self._death_told_at = time.monotonic()
            self._say_dead(found["id"])

    def flush(self, *, everything: bool = False) -> None:
        """Tell of the retries whose time is over."""
        now = time.monotonic()
        with self._lock:
            # A timer may come a little early.
            due = [route for route, fold in self._folds.items() if everything or now - fold.since >= _FOLD_S - 0.5]
            folds = [(route, self._folds.pop(route)) for route in due]
        for route, fold in folds:
            if fold.more:
                told = f"{plural(fold.more, 'more retry', 'more retries')} in {now - fold.since:.0f} s"
                self._say(fold.name, f"{route}: {told}")
