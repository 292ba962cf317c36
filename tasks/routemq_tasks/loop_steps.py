"""Steps that belong to the thread of a worker's event loop, whichever thread has them to take."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class LoopSteps:
    """Takes steps in the thread that made this: its own at once, those of other threads soon, many in one turn.

    Any thread may add to the deque. Who adds one looks afterwards whether a turn is due, and the turn says before it
    takes the first that it is due no more: so none is left behind.

    Args:
        call_soon: Has a function called in the next turn of the event loop.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon, self._thread = call_soon, threading.get_ident()
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._is_due = False

    def take(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Take a step, now or soon."""
        if threading.get_ident() == self._thread:
            _take(step, arguments)
            return
        self._waiting.append((step, arguments))
        if not self._is_due:
            self._is_due = True
            self._call_soon(self.take_waiting)

    def take_waiting(self) -> None:
        """Take all that wait; also called with each new connection, as a loop that fails forgets what was due."""
        self._is_due = False
        while self._waiting:
            _take(*self._waiting.popleft())


def _take(step: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        step(*arguments)
    # As Celery has it where there is no event loop. It has run, and is nobody's failure; it is run again elsewhere.
    except Exception:
        logger.exception("a message is not acknowledged")
