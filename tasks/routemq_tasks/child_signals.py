"""A child of the prefork pool is ended by its parent, and by nobody else who sends a signal to all.

systemd stops a service by a signal to each of its processes, a terminal by one to its foreground. The parent finishes
in peace what runs in its children; they must not fall over their own copy of the signal.
"""

import ctypes
import mmap
import signal
import sys
from types import FrameType
from typing import Any

from billiard.common import TERM_SIGNAL, reset_signals
from celery import platforms
from celery.concurrency.asynpool import Worker

from routemq_tasks.application import Application

_SENT_TO_ALL = (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


class EndableWorker(Worker):
    """Celery's child, which heeds a signal to end only when its parent has allowed it.

    Attributes:
        may_end: A byte that the parent shares; 1 when a signal is its own.
    """

    may_end: mmap.mmap | None = None

    def after_fork(self) -> None:
        """Set up the process, and what signals do to it."""
        # Where cffi is installed, billiard's has each child load a parser of C for this one call: more megabytes of its
        # own than all that its messages take.
        platforms.set_pdeathsig = _end_with_parent
        super().after_fork()
        if self.may_end is not None:
            for number in {*_SENT_TO_ALL, TERM_SIGNAL}:
                signal.signal(number, self._on_signal)
        # Last, and before it says that it is up, from when on it is given messages.
        app = self.initargs[0]
        if isinstance(app, Application):
            app.lifespan.start_child(lambda: app.process.loop)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.may_end is not None and self.may_end[0]:
            # To the handler that would be here: it ends what runs, and lets it clean up.
            reset_signals()
            signal.raise_signal(number)


def _end_with_parent(name: str) -> None:
    """Have the kernel send this process a signal when its parent has ended, where it does that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.Signals[name]))


def allow_end(process: Any) -> None:
    """Let signals end a child from now on."""
    may_end: mmap.mmap | None = getattr(process, "may_end", None)
    if may_end is not None:
        may_end[0] = 1


def share_end(process: Any, worker: EndableWorker) -> None:
    """Give a process that is about to be forked what it needs, and its parent the way to end it."""
    terminate = process.terminate

    def allowed() -> None:
        allow_end(process)
        terminate()

    process.may_end = worker.may_end = mmap.mmap(-1, 1)
    process.terminate = allowed
