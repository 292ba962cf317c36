"""One command with the process that runs it now."""

import contextlib
import errno
import logging
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from routemq.supervision.systemd import NOTIFY_VARIABLES

logger = logging.getLogger(__name__)

OnLine = Callable[[str, str], None]
"""Called with a process's name and one line of its output, from a thread of its own."""

_LONGEST_LINE_BYTES = 65_536

MOST_DEATHS = 5
"""The times of so many deaths are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to supervise.

    Attributes:
        name: Unique among the supervisor's processes.
        argv: Program and arguments.
        env: Added to this process's environment.
        cwd: Its working directory; this process's own when None.
        ready: Part of the output line that says that it serves; None: it serves as soon as it runs.
        stop_signals: Sent one after the other, each with the seconds it may take; SIGKILL to the whole group ends it.
        restart: Start it again when it dies; if not, it stays dead.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: str | None = None
    stop_signals: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 20.0),)
    restart: bool = True


def log_line(name: str, line: str) -> None:
    """Pass a line on to this process's log."""
    logger.info("%s: %s", name, line)


class Child:
    """One command with the process that runs it now. One thread at a time, but for `signal` and what is only read.

    Attributes:
        wanted: Whether it is to be started again when it dies.
        start_at: Time of the planned start, on the monotonic clock, while it is dead.
        last_lines: What it wrote last.
    """

    def __init__(self, command: Command, on_line: OnLine) -> None:
        self.command = command
        self.wanted = True
        self.restarts = 0
        self.deaths_in_a_row = 0
        self.died_at: deque[float] = deque(maxlen=MOST_DEATHS)
        self.start_at: float | None = None
        self.exit_code: int | None = None
        self._buried = False
        self.last_lines: deque[str] = deque(maxlen=15)
        self._on_line = on_line
        self.spawn()

    def spawn(self) -> None:
        """Start the process.

        Raises:
            OSError: The program is not there, or the system has no room for it.
        """
        self.start_at = None
        self.is_ready = self.command.ready is None
        self.last_lines.clear()
        self.started_at = time.monotonic()
        # A session of its own: a Ctrl-C at the terminal reaches the supervisor alone, which then stops all in order.
        popen = subprocess.Popen(
            list(self.command.argv),
            cwd=self.command.cwd,
            env={**_inherited(), "PYTHONUNBUFFERED": "1", **self.command.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = threading.Thread(
            target=self._read, args=(popen.stdout,), name=f"output of {self.command.name}", daemon=True
        )
        try:
            reader.start()
        except RuntimeError as exc:
            with popen:
                popen.kill()
            raise OSError(errno.EAGAIN, str(exc)) from exc
        # The one before is dead and buried as long as there is no other.
        self.popen, self._reader, self._buried = popen, reader, False

    @property
    def alive(self) -> bool:
        """Whether it runs now."""
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Signal the process alone: Celery's children take a signal of their own as the end, in mid-task."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(number)

    def kill_group(self) -> None:
        """SIGKILL for the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def bury(self) -> None:
        """After its death: end what it started, and have the rest of its output.

        Once: later its number may be another's.
        """
        if self._buried:
            return
        self._buried = True
        self.exit_code = self.popen.wait()
        self.kill_group()
        self._reader.join(2.0)
        self.is_ready = False

    def _read(self, output: IO[bytes]) -> None:
        ready = self.command.ready
        with output:
            while raw := output.readline(_LONGEST_LINE_BYTES):
                line = raw.decode(errors="replace").rstrip()
                self.last_lines.append(line)
                try:
                    self._on_line(self.command.name, line)
                # Whoever shows the lines may fail; a process whose output nobody takes would stand still.
                except Exception:
                    logger.exception("output line was not shown name=%s", self.command.name)
                if ready is not None and ready in line:
                    self.is_ready = True


def _inherited() -> dict[str, str]:
    # systemd hears of the supervisor alone.
    return {name: value for name, value in os.environ.items() if name not in NOTIFY_VARIABLES}
