"""The page that a pool and a child of it share: which message of a bundle runs, and who may still begin the others.

The pool offers a bundle, one slot for each message, and writes it into the child's pipe. From then on

- the child *begins* a slot that is offered: the message is its own, and it runs it;
- the pool *takes back* a slot that is offered: the message goes to another child, or stays with the worker.

**Why no message is both begun and taken back.** A slot leaves `OFFERED` in `begin` and in `take_back` only, each under
the lock, which is one of the system's (a semaphore in memory that both see, so it is taken without a system call unless
the other has it). Whoever comes second finds the slot not offered, and leaves it.

**Why nobody waits forever.** Each side holds the lock for a few reads and writes of this page and nothing else. The
child waits for the pool, without which it would be dead itself. The pool waits for a moment only, and then does without
what it wanted: a child that was killed, or stopped, with the lock in its hand may never give it back. From a dead child
nothing needs to be claimed: the pool has read its exit, and is the only one that looks at the page.

**Why blame is exact.** A child runs one message after the other, and a slot is `BEGUN` from before its run until its
outcome is on this page (`DONE`) or in the pipe (`TOLD`). So a dead child leaves at most one slot begun: the guilty one.
What is before it has its outcome, what is after it is offered still. A byte is written whole or not at all; that the
child's last word is seen when its exit is, is the kernel's.

**Why a bundle is never taken for another.** A slot is used again only when the child has said, by the pipe, that it is
at the end of its bundle; and the bundle in the pipe has the number that is on the page, or the child passes it over.
"""

import mmap
import time
from typing import Any, Final

SLOTS: Final = 64
"""So many messages are in one bundle at most."""

FREE: Final = 0
OFFERED: Final = 1
BEGUN: Final = 2
DONE: Final = 3
TOLD: Final = 4
TAKEN: Final = 5

_DOUBLE = 8


class BundlePage:
    """Made by the pool before it forks the child. `offer` and `take_back` are the pool's, all else that writes is not.

    Args:
        lock: One that processes share, with billiard's `acquire(block, timeout)`.
    """

    def __init__(self, lock: Any) -> None:
        self._lock, self._count = lock, 0
        memory = memoryview(mmap.mmap(-1, _DOUBLE * (2 * SLOTS + 1) + SLOTS))
        times = memory[: _DOUBLE * 2 * SLOTS].cast("d")
        self._began_at, self._took_s = times[:SLOTS], times[SLOTS:]
        self._number = memory[_DOUBLE * 2 * SLOTS :][:_DOUBLE].cast("q")
        self._states: Any = memory[-SLOTS:]

    def offer(self, count: int) -> int:
        """Offer so many slots from the first on, when the child is at its end; returns the number of the bundle."""
        self._number[0] += 1
        self._count = count
        self._states[:] = bytes((OFFERED,)) * count + bytes((FREE,)) * (SLOTS - count)
        return self._number[0]

    def take_back(self, *, patience_s: float = 0.0) -> list[int]:
        """Take back what the child has not begun; returns the slots, none when the child has the lock for so long."""
        if not self._lock.acquire(patience_s > 0, patience_s):
            return []
        try:
            states = self._states
            taken = [slot for slot in range(self._count) if states[slot] == OFFERED]
            for slot in taken:
                states[slot] = TAKEN
        finally:
            self._lock.release()
        return taken

    def begin(self, number: int, slot: int) -> bool:
        """Make a message the child's own, if it is still offered in the bundle of this number."""
        with self._lock:
            if self._number[0] != number or self._states[slot] != OFFERED:
                return False
            self._began_at[slot] = time.monotonic()
            self._states[slot] = BEGUN
            return True

    def done(self, slot: int) -> None:
        """The run has succeeded."""
        # In this order: who sees the state sees the time, or one that is wrong in a figure of speed alone.
        self._took_s[slot] = time.monotonic() - self._began_at[slot]
        self._states[slot] = DONE

    def told(self, slot: int) -> None:
        """What became of the run is in the pipe, all of it."""
        self._states[slot] = TOLD

    @property
    def number(self) -> int:
        """Of the bundle that was offered last."""
        return int(self._number[0])

    def states(self) -> bytes:
        """Return where each slot is, one after the other."""
        return bytes(self._states[: self._count])

    def state(self, slot: int) -> int:
        """Return where a slot is."""
        return int(self._states[slot])

    def began_at(self, slot: int) -> float:
        """Return when its run began, on the monotonic clock."""
        return float(self._began_at[slot])

    def took_s(self, slot: int) -> float:
        """Return how long a run took that is done."""
        return float(self._took_s[slot])
