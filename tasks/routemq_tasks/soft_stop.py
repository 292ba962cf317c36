"""A worker that is told to end has a limit of its own, whoever started it: what still runs then is given back."""

import os
import signal
import threading
import time
from typing import Any

from celery.signals import worker_shutting_down

from routemq.supervision.stop import Stop


class SoftStop(threading.Thread):
    """Turns a warm shutdown into a cold one, which gives back what runs, when it has taken too long.

    Without it, what is cut off by SIGKILL is held until its lease ends, and has a strike.

    Args:
        grace_s: How long what runs may go on.
    """

    def __init__(self, grace_s: float) -> None:
        super().__init__(name="routemq-soft-stop", daemon=True)
        self._grace_s, self._asked = grace_s, Stop()

    def start(self) -> None:
        """Begin to wait for the end."""
        worker_shutting_down.connect(self._on_shutdown)
        super().start()

    def stop(self) -> None:
        """Goes on: the worker is about to end, and takes this thread along."""

    def run(self) -> None:
        self._asked.wait()
        time.sleep(self._grace_s)
        os.kill(os.getpid(), signal.SIGQUIT)

    def _on_shutdown(self, how: str = "", **_: Any) -> None:
        # Called by a signal handler.
        if how == "Warm":
            self._asked.set()
