"""What a thread of its own does for a loop that must never wait."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Errands:
    """Does one thing after the other.

    The loop's thread calls everything here; only `_run` is the other thread's. A daemon, for what it waits for, such
    as a name server, cannot be broken off: at the end of the process it is left behind.

    Args:
        wake: Ends the loop's sleep; called by the other thread.
    """

    def __init__(self, name: str, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._open: deque[tuple[Future[Any], Callable[[Future[Any]], None]]] = deque()
        self._name, self._started = name, False

    def ask(self, call: Callable[[], T], *, then: Callable[["Future[T]"], None]) -> None:
        """Have `call` called; what comes of it is given to `then`, by `tend`."""
        future: Future[T] = Future()
        self._open.append((future, then))
        self._asked.put((call, future))
        self._start()

    def _start(self) -> None:
        if self._started:
            return
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError as exc:
            # The system has none at this moment. What is asked waits, as it does for Redis.
            logger.debug("no thread for %s yet: %s", self._name, exc)
        else:
            self._started = True

    def tend(self) -> None:
        """Hand over what is done."""
        if self._open:
            self._start()
        while self._open and self._open[0][0].done():
            future, then = self._open.popleft()
            then(future)

    def finish(self, *, timeout_s: float) -> None:
        """Hand over all that is done by then."""
        deadline = time.monotonic() + timeout_s
        while self._open:
            wait([self._open[0][0]], max(0.0, deadline - time.monotonic()))
            if not self._open[0][0].done():
                return
            self.tend()

    def close(self) -> None:
        """Ask for nothing more."""
        self._asked.put(None)

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            call, future = asked
            try:
                result = call()
            # It is raised where it was asked for.
            except BaseException as exc:  # noqa: BLE001
                future.set_exception(exc)
            else:
                future.set_result(result)
            self._wake()
