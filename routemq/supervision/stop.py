"""How a signal asks a program to end."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """An event that a signal handler may set.

    `threading.Event` takes a lock, which the code that the signal interrupts may hold: the program would stand still.
    Here `set` stores a flag and writes to a pipe, which stays readable for whoever waits, until the process ends.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    @classmethod
    def on(cls, *numbers: signal.Signals) -> "Stop":
        """Return one that these signals set."""
        stop = cls()
        for number in numbers:
            signal.signal(number, lambda *_: stop.set())
        return stop

    def then(self, call: Callable[[], object]) -> None:
        """Have something called when it is set, whatever locks that takes: in a thread, which begins now.

        A handler must not begin one: to begin a thread takes locks as well.
        """

        def wait_and_call() -> None:
            self.wait()
            call()

        threading.Thread(target=wait_and_call, name="after a signal", daemon=True).start()

    def set(self) -> None:
        """Ask for the end."""
        self._is_set = True
        # A full pipe, after thousands of signals, wakes everybody as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        """Whether the end is asked for."""
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is, at most for so long; return whether it is."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.poll(None if timeout_s is None else timeout_s * 1000)
        return self._is_set


def take_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Have this called by what asks for the end; also by the end of the terminal, unless `nohup` says otherwise."""
    for number in (*STOP_SIGNALS, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def ignore_stop_signals() -> None:
    """Be deaf to another one from here to the end, where Python would leave it to kill the process."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
