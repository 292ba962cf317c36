"""A socket on which a process tells systemd how it is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd:
    """What listens in systemd's place.

    Attributes:
        environment: What systemd sets for a service of `Type=notify` with a watchdog of a second.
        heard: All that was said.
    """

    environment: dict[str, str]
    heard: list[bytes] = field(default_factory=list)

    def hear(self, words: bytes) -> None:
        """Wait until it is said."""
        wait_until(lambda: words in self.heard, message=f"systemd hears {words!r}")


@contextmanager
def listening(folder: Path) -> Iterator[Systemd]:
    """Listen in this folder until the block ends."""
    address = folder / "notify"
    systemd = Systemd(environment={"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1000000"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))

        def read() -> None:
            with suppress(OSError):
                while words := listener.recv(200):
                    systemd.heard.append(words)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield systemd
        listener.shutdown(socket.SHUT_RDWR)
        reader.join()
