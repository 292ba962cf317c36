"""What is to be given back, until Redis has it."""

import threading
from collections.abc import Iterable

from routemq.lifecycle.moves import Moves, PutBack


class Returns:
    """Delivery tags in the order in which they are given back; any thread may add to them, and any may send them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[PutBack, list[str]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, tags: Iterable[str], how: PutBack) -> None:
        """Take in some; what is `returned` goes out together with what was just before."""
        with self._lock:
            if how == "returned" and self._waiting and self._waiting[-1][0] == how:
                self._waiting[-1][1].extend(tags)
            else:
                self._waiting.append((how, list(tags)))

    def send(self, moves: Moves) -> None:
        """Give back all that wait.

        Raises:
            BaseException: Whatever it is, those from there on wait on, before what was added meanwhile.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for number, (how, tags) in enumerate(waiting):
            try:
                moves.put_back(tags, how)
            except BaseException:
                with self._lock:
                    self._waiting = waiting[number:] + self._waiting
                raise
