"""The folder in which `routemq dev` keeps its servers' data, one run at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from routemq.errors import RouteMQError
from routemq.text import error_text


class RunningAlreadyError(RouteMQError):
    """Another `routemq dev` uses this folder; two servers on the same files would destroy them."""

    def __init__(self, *, folder: Path, pid: str) -> None:
        self.folder, self.pid = folder, pid
        super().__init__(
            f"routemq dev runs already in this project, process {pid or 'unknown'}. Mend: stop that one, or start this "
            "one with another --state folder."
        )


class StateFolderError(RouteMQError):
    """The folder cannot be made, written to or locked."""

    def __init__(self, *, folder: Path, problem: str) -> None:
        self.folder, self.problem = folder, problem
        super().__init__(
            f"the servers of routemq dev cannot keep their data in {folder}: {problem}. Mend: name another folder with "
            "--state, or set MQTT_BROKER and REDIS_URL and run `routemq up`."
        )


@contextmanager
def state_folder(folder: Path) -> Iterator[Path]:
    """Make the folder if need be, and hold it.

    Raises:
        RunningAlreadyError: Another process holds it.
        StateFolderError: It cannot be used.
    """
    # The lock ends with the process, however it ends; the number in the file is for people.
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            lock = held.enter_context((folder / "lock").open("a+", encoding="utf-8"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise RunningAlreadyError(folder=folder, pid=lock.read().strip()) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        # A disk that is full or read-only, a network's without locks, a name that nobody can have.
        except (OSError, ValueError) as exc:
            raise StateFolderError(folder=folder, problem=getattr(exc, "strerror", None) or error_text(exc)) from exc
        yield folder
