"""The logs of several processes in one stream, for a program to collect: each line whole, after its process's name."""

import threading
from typing import TextIO


class MergedLog:
    """Writes lines from several threads to one stream; nothing is left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def line(self, name: str, line: str) -> None:
        """Write a line of a process; one that is a JSON object stays as it is, for those who collect them."""
        with self._lock:
            self._stream.write(f"{line}\n" if line.startswith("{") else f"{name}: {line}\n")
            self._stream.flush()
