"""Which messages were run, and when: written by the worker processes, read by the bench."""

import itertools
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ROUTEMQ_BENCH_RUNS"
"""Names the folder of the records to the worker processes."""

_RECORD = struct.Struct("=Qd")
_CAPACITY = 4_000_000
"""Records of one process; the file is sparse, and as large as what was written."""


class RunRecorder:
    """Notes each run in memory that is shared through a file: less than a microsecond, and a crash loses none.

    Each process has a file of its own, made at its first run, so that a forked child does not write into another's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._lock = threading.Lock()
        self._memory: mmap.mmap | None = None
        self._positions = itertools.count()

    def note(self, number: int) -> None:
        """Write down that the message of this number is run now; safe from several threads."""
        memory = self._memory
        if memory is None or self._pid != os.getpid():
            memory = self._open()
        # A number that is not 0 ends the search of the reader. Taking a position is one step of the interpreter.
        _RECORD.pack_into(memory, next(self._positions) * _RECORD.size, number, time.monotonic())

    def _open(self) -> mmap.mmap:
        with self._lock:
            if self._memory is None or self._pid != os.getpid():
                with (self._folder / f"{os.getpid()}.runs").open("w+b") as file:
                    file.truncate(_CAPACITY * _RECORD.size)
                    memory = mmap.mmap(file.fileno(), 0)
                self._positions = itertools.count()
                self._memory, self._pid = memory, os.getpid()
            return self._memory


class RunReader:
    """Reads what all processes have noted so far."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memories: dict[Path, mmap.mmap] = {}
        self._counts: dict[Path, int] = {}

    def count(self) -> int:
        """Return how many runs were noted, a message that was run twice counted twice; cheap enough to poll."""
        for path in self._folder.glob("*.runs"):
            # Between its making and its sizing a file cannot be mapped.
            if path not in self._memories and path.stat().st_size:
                with path.open("rb") as file:
                    self._memories[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._counts[path] = 0
        for path, memory in self._memories.items():
            self._counts[path] = _filled(memory, self._counts[path])
        return sum(self._counts.values())

    def runs(self) -> Iterator[tuple[int, float]]:
        """Give number and time, on this machine's monotonic clock, of each run."""
        self.count()
        for path, memory in self._memories.items():
            yield from _RECORD.iter_unpack(memory[: self._counts[path] * _RECORD.size])

    def close(self) -> None:
        """Let go of the files."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()


def _filled(memory: mmap.mmap, least: int) -> int:
    """Return how many records are filled, of which `least` are known to be."""

    def is_filled(index: int) -> bool:
        return index < _CAPACITY and memory[index * _RECORD.size : index * _RECORD.size + 8] != bytes(8)

    step = 1
    while is_filled(least + step - 1):
        least += step
        step *= 2
    while step > 1:
        step //= 2
        if is_filled(least + step - 1):
            least += step
    return least
