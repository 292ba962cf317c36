"""How much memory processes use; what they share counts once, where the system can tell."""

from collections.abc import Iterable

import psutil


def memory_bytes(pids: Iterable[int]) -> int:
    """Return what processes use together, by proportional set size where it is told; what is gone uses nothing.

    To ask takes the kernel milliseconds for each.
    """
    return sum(map(_memory_bytes, pids))


def tree_memory_bytes(pid: int) -> int | None:
    """Return what a process uses with all that it started; None when it is gone."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return None
    return memory_bytes((pid, *(child.pid for child in children)))


def _memory_bytes(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        try:
            full = process.memory_full_info()
        except psutil.AccessDenied:
            return int(process.memory_info().rss)
    except psutil.Error:
        return 0
    return int(getattr(full, "pss", full.rss))
