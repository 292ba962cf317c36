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
_CHUNK = 64
"""Records that are read at a time."""


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
    """Reads what all processes have noted so far.

    Args:
        numbers: Of the messages that are counted. What was sent before may be run while these are waited for.
    """

    def __init__(self, folder: Path, numbers: range) -> None:
        self._folder = folder
        self._memories: dict[Path, mmap.mmap] = {}
        self._read: dict[Path, int] = {}
        self.count_only(numbers)

    def count_only(self, numbers: range) -> None:
        """Count these from now on, of which none has been run yet."""
        self._numbers = numbers
        self._seen: set[int] = set()

    def count(self) -> int:
        """Return how many of the messages were run, each counted once; cheap enough to poll."""
        for path in self._folder.glob("*.runs"):
            # Between its making and its sizing a file cannot be mapped.
            if path not in self._memories and path.stat().st_size:
                with path.open("rb") as file:
                    self._memories[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._read[path] = 0
        for path, memory in self._memories.items():
            found = [number for number, _ in _records(memory, self._read[path])]
            self._read[path] += len(found)
            self._seen.update(number for number in found if number in self._numbers)
        return len(self._seen)

    def runs(self) -> Iterator[tuple[int, float]]:
        """Give number and time, on this machine's monotonic clock, of each run, whatever its number."""
        self.count()
        for path, memory in self._memories.items():
            yield from _RECORD.iter_unpack(memory[: self._read[path] * _RECORD.size])

    def close(self) -> None:
        """Let go of the files."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()


def _records(memory: mmap.mmap, start: int) -> Iterator[tuple[int, float]]:
    """Give what is written from a position on."""
    for at in range(start * _RECORD.size, len(memory), _CHUNK * _RECORD.size):
        for number, run_at in _RECORD.iter_unpack(memory[at : at + _CHUNK * _RECORD.size]):
            # A thread that has its position may not have written yet, or half; those behind it are read later.
            if not number or not run_at:
                return
            yield number, run_at
