"""The soft time limit of a pool process, let in only while a controller runs."""

import signal
import time
from types import FrameType

from billiard import pool as billiard_pool

from routemq_tasks.errors import TimedOutError

_EARLY_S = 0.2


class SoftTimeLimit:
    """Guards the main thread of a prefork child.

    The parent sends its signal when it thinks that a run has taken too long. It may arrive when the run is over: in the
    middle of recording its outcome, where it would tear a Redis conversation apart, or in the next message's run, where
    it would be a lie. So the signal is heeded only inside a run, and only when the time is really up.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._started = 0.0
        self._timeout_s: float | None = None
        self._installed = False

    def start(self, timeout_s: float | None) -> None:
        """A run begins that may take this long; None when only the worker's own limit counts."""
        if not self._installed:
            self._install()
        self._started, self._timeout_s = time.monotonic(), timeout_s
        self._due = self._started + (timeout_s or 0.0) - _EARLY_S

    def end(self) -> None:
        """The run is over."""
        self._due = None

    def _install(self) -> None:
        self._installed = True
        number = billiard_pool.SIG_SOFT_TIMEOUT
        # Only a prefork child has billiard's handler, and a child runs its messages in its main thread.
        if number is not None and signal.getsignal(number) is billiard_pool.soft_timeout_sighandler:
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._due is not None and now >= self._due:
            self._due = None
            raise TimedOutError(self._timeout_s or round(now - self._started, 1))
