"""Real threads beside the greenlets of gevent, and the way back from them.

It puts greenlets in the place of threads, in the whole process. What must not share its thread with every message, as
an event loop must not, needs one of the operating system's.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

from kombu.utils.compat import detect_environment


class Greenlets:
    """Where a real thread has functions called: each in a greenlet of its own, in the thread that made this.

    That thread reads a pipe; any other may write into it. Between the two is a deque, which needs no lock.
    """

    def __init__(self) -> None:
        self._functions: deque[Callable[[], Any]] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # A greenlet, as every thread that is made by this module's name for it.
        threading.Thread(target=self._serve, name="routemq-greenlets", daemon=True).start()

    def call(self, function: Callable[[], Any]) -> None:
        """Have a function called soon; its result and what it raises are nobody's."""
        self._functions.append(function)
        # A full pipe has enough in it to be read.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def _serve(self) -> None:
        while True:
            import_module("gevent.socket").wait_read(self._reader)
            os.read(self._reader, 4096)
            while self._functions:
                threading.Thread(target=_quietly, args=(self._functions.popleft(),), daemon=True).start()


def _quietly(function: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):
        function()


def call(function: Callable[[], Any]) -> None:
    """Call a function here and now: what `Greenlets.call` is where threads are real."""
    function()


def are_greenlets() -> bool:
    """Return whether threads are greenlets in this process."""
    return str(detect_environment()) == "gevent"


def is_kill(error: BaseException) -> bool:
    """Return whether an exception ends the greenlet that it was thrown into."""
    return any(kind.__module__ == "greenlet" for kind in type(error).__mro__)


def start_real_thread(run: Callable[[], Any]) -> None:
    """Start a thread of the operating system, which ends with the process."""
    import_module("gevent.monkey").get_original("_thread", "start_new_thread")(run, ())
