"""The folder in which `routemq dev` keeps its servers' data, one run at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from routemq.errors import RouteMQError


class RunningAlreadyError(RouteMQError):
    """Another `routemq dev` uses this folder; two servers on the same files would destroy them."""

    def __init__(self, *, folder: Path, pid: str) -> None:
        self.folder, self.pid = folder, pid
        super().__init__(
            f"routemq dev runs already in this project, process {pid or 'unknown'}. Mend: stop that one, or start this "
            "one with another --state folder."
        )


@contextmanager
def state_folder(folder: Path) -> Iterator[Path]:
    """Make the folder if need be, and hold it.

    Raises:
        RunningAlreadyError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    # The lock ends with the process, however it ends; the number in the file is for people.
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise RunningAlreadyError(folder=folder, pid=lock.read().strip()) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield folder
