"""Whether the worker is stopping, which the processes of its pool have to know as well."""

import mmap


class Stopping:
    """A flag in memory that a process shares with those it forks; made before the pool is."""

    def __init__(self) -> None:
        self._flag = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """What runs is ended, and nobody waits for Redis as long as else."""
        self._flag[0] = 1

    @property
    def begun(self) -> bool:
        return self._flag[0] == 1
