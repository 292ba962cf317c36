"""A file that has its name only when it is complete."""

import contextlib
import fcntl
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import click

_MOST_NAME_BYTES = 255


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
            OSError: It cannot be written, or the file that is there may not be.
            click.ClickException: Another process writes it.
        """
        given = path
        # What a link leads to is made, in its own folder, and the link stays.
        path = Path(os.path.realpath(path))
        there = _there(path)
        part = path.with_name(_part_name(path.name))
        while True:
            file = part.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                file.close()
                raise click.ClickException(f"another process writes {given} right now; let it finish") from exc
            if _is_at(file, part):
                file.truncate(0)
                if there is not None:
                    _take_after(file, there)
                return cls(path, part, file)
            # It was completed, or given up, between opening and locking.
            file.close()

    def complete(self) -> None:
        """Give it its name, once it is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.part.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            # Some file systems cannot; the file is there all the same.
            with contextlib.suppress(OSError):
                os.fsync(folder)
        finally:
            os.close(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, *_exc_info: object) -> None:
        if exc_type is not None:
            self.part.unlink(missing_ok=True)
        # What could not be written is given up with it.
        with contextlib.suppress(OSError):
            self.file.close()


def _there(path: Path) -> os.stat_result | None:
    """Return what is at the path; opened, because only that tells whether this user may write it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _take_after(file: BinaryIO, there: os.stat_result) -> None:
    """Give the new file the owner and the permissions of the one in whose place it comes."""
    # Nobody but root may give a file away.
    with contextlib.suppress(OSError):
        os.fchown(file.fileno(), there.st_uid, there.st_gid)
    os.fchmod(file.fileno(), stat.S_IMODE(there.st_mode))


def _part_name(name: str) -> str:
    part = f".{name}.part"
    if len(os.fsencode(part)) <= _MOST_NAME_BYTES:
        return part
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.part"


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
