"""What systemd is told by a service of `Type=notify`; see sd_notify(3) and systemd.service(5)."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self

from routemq.text import error_line

if TYPE_CHECKING:
    from routemq.metrics.http import ProcessHealth

logger = logging.getLogger(__name__)

NOTIFY_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""For the process that systemd has started, and none that it starts."""

_LOOK_EVERY_S = 0.5
_SEND_TIMEOUT_S = 1.0


class ServiceNotification:
    """Tells systemd how this process is; says nothing where no systemd asked for it.

    Args:
        environ: `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as systemd sets them.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An address that begins with @ is in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environ.get("WATCHDOG_USEC", "")
        # Half of what it allows, as sd_watchdog_enabled(3) has it.
        self._watchdog_every_s = int(watchdog_us) / 2_000_000 if watchdog_us.isdecimal() else None
        self._watched_at = time.monotonic()

    def ready(self, status: str) -> None:
        """Say that the service serves."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Say that the service stops."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Keep the watchdog quiet; to be called at least once a second."""
        if self._watchdog_every_s is not None and time.monotonic() - self._watched_at >= self._watchdog_every_s:
            self._watched_at = time.monotonic()
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # A systemd that does not listen is no reason to stop.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # Nor is one that does not read.
            sock.settimeout(_SEND_TIMEOUT_S)
            sock.sendto(state.encode(), self._address)


class ServiceWatch(threading.Thread):
    """Tells systemd of a process that is a service of its own: ready, once it can do its work; alive, while it is.

    Args:
        health: Called in this thread, twice a second.
    """

    def __init__(self, health: "Callable[[], ProcessHealth]") -> None:
        super().__init__(name="routemq-systemd", daemon=True)
        self._health, self._systemd, self._stopped = health, ServiceNotification(), threading.Event()

    def run(self) -> None:
        announced = False
        while not self._stopped.wait(_LOOK_EVERY_S):
            try:
                now = self._health()
            # Without this thread systemd would kill a process that is well; one that stays unknown it does.
            except Exception as exc:  # noqa: BLE001
                logger.debug("it is not known how this process is: %s", error_line(exc))
                continue
            if now.ready and not announced:
                announced = True
                self._systemd.ready("serving")
            if now.alive:
                self._systemd.alive()

    def stop(self) -> None:
        """Say that the service stops; its end is then for TimeoutStopSec to watch."""
        self._systemd.stopping()
        self._stopped.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def is_service(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd wants to be told of this process."""
    return bool(environ.get("NOTIFY_SOCKET"))
