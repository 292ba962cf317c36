"""How another thread, or a signal handler, ends the sleep of a loop."""

import contextlib
import socket


class Bell:
    """Something for `poll` to find readable. `wake` takes no lock, so that it may interrupt anything, itself too."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The socket's number."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the sleep, or the next one."""
        # A full buffer wakes as well; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Be ready for the next time."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(4096)

    def close(self) -> None:
        """Wake nobody any more."""
        self._reader.close()
        self._writer.close()
