"""A file that has its name only when it is complete."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import click


@dataclass(slots=True)
class PartFile:
    """A hidden file beside the one that is to be made.

    What a killed process left of it is begun anew; the lock, which the system takes from the dead, tells that from a
    file that someone writes.
    """

    path: Path
    part: Path
    file: BinaryIO

    @classmethod
    def of(cls, path: Path) -> "PartFile":
        """Open it.

        Raises:
            OSError: It cannot be written.
            click.ClickException: Another process writes it.
        """
        part = path.with_name(f".{path.name}.part")
        while True:
            file = part.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                file.close()
                raise click.ClickException(f"another process writes {path} right now; let it finish") from exc
            if _is_at(file, part):
                file.truncate(0)
                return cls(path, part, file)
            # It was completed, or given up, between opening and locking.
            file.close()

    def complete(self) -> None:
        """Give it its name, once it is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.part.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, *_exc_info: object) -> None:
        if exc_type is not None:
            self.part.unlink(missing_ok=True)
        self.file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
