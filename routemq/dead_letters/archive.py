"""Dead letters in files: one JSON object a line, with everything needed to bring them back."""

import base64
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from routemq.dead_letters.letter import DamagedLetterError, DeadLetter
from routemq.errors import RouteMQError

_VERSION = 1


class BrokenLineError(RouteMQError):
    """A line of an export file cannot be read.

    Attributes:
        line: Its number, from 1.
    """

    def __init__(self, *, source: str, line: int, problem: str) -> None:
        self.source, self.line, self.problem = source, line, problem
        super().__init__(f"{source}, line {line}: {problem}")


class ArchiveError(RouteMQError):
    """A file for dead letters cannot be written."""

    def __init__(self, *, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"cannot write {path}: {problem}")


@dataclass(frozen=True, slots=True)
class ArchivedLetter:
    """A dead letter and its message byte for byte, as they are written to a file."""

    letter: DeadLetter
    raw: bytes

    def to_line(self) -> bytes:
        """Return the line, with its end."""
        letter = self.letter
        fields: dict[str, Any] = {
            "v": _VERSION,
            "id": letter.id,
            "died_at": letter.died_at,
            **orjson.loads(letter.description()),
        }
        if letter.traceback:
            fields["traceback_text"] = letter.traceback
        try:
            fields["raw"] = self.raw.decode()
        except UnicodeDecodeError:
            fields["raw_base64"] = base64.b64encode(self.raw).decode()
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes, *, source: str, number: int) -> "ArchivedLetter":
        """Read a line.

        Raises:
            BrokenLineError: It is not what `to_line` writes.
        """
        try:
            fields = orjson.loads(line)
            if fields["v"] != _VERSION:
                raise BrokenLineError(
                    source=source, line=number, problem=f"version {fields['v']!r}; this release reads {_VERSION}"
                )
            if not {"raw", "raw_base64"} & fields.keys():
                raise BrokenLineError(source=source, line=number, problem="the field 'raw' is missing")
            raw = (
                base64.b64decode(fields["raw_base64"], validate=True) if "raw" not in fields else fields["raw"].encode()
            )
            letter_id, died_at = fields["id"], fields["died_at"]
            if not (isinstance(letter_id, str) and letter_id and isinstance(died_at, (int, float))):
                raise BrokenLineError(source=source, line=number, problem="its id or time of death is none")
            letter = DeadLetter.from_description(letter_id, line, died_at=float(died_at))
            return cls(letter.with_traceback(str(fields.get("traceback_text", ""))), raw)
        except orjson.JSONDecodeError as exc:
            problem = "it ends too early or is no JSON" if line[-1:] != b"\n" else f"no JSON: {exc.msg}"
            raise BrokenLineError(source=source, line=number, problem=problem) from exc
        except DamagedLetterError as exc:
            raise BrokenLineError(source=source, line=number, problem=exc.problem) from exc
        except KeyError as exc:
            raise BrokenLineError(source=source, line=number, problem=f"the field {exc} is missing") from exc
        except (TypeError, AttributeError, ValueError) as exc:
            raise BrokenLineError(source=source, line=number, problem=f"no exported dead letter: {exc}") from exc


class ArchiveFile:
    """A file that dead letters are appended to; what `write` has returned for is on the disk, under this name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._is_locked = False

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._check()
            self._lock()
            self._end_line()
        except OSError as exc:
            self.__exit__()
            raise ArchiveError(path=self.path, problem=_told(exc)) from exc
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._file >= 0:
            # What was written is synced already.
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def write(self, letters: Iterable[ArchivedLetter]) -> list[str]:
        """Append the letters, and return their ids when they are on the disk.

        Raises:
            ArchiveError: They are not, or not all of them.
        """
        batch = list(letters)
        data = memoryview(b"".join(archived.to_line() for archived in batch))
        try:
            start = os.lseek(self._file, 0, os.SEEK_END)
            try:
                while data:
                    data = data[os.write(self._file, data) :]
                self._sync()
            except OSError:
                # A full disk takes a part: the letters stay in Redis, and come here whole another time.
                if self._is_locked:
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._file, start)
                raise
        except OSError as exc:
            raise ArchiveError(path=self.path, problem=_told(exc)) from exc
        return [archived.letter.id for archived in batch]

    def _sync(self) -> None:
        os.fsync(self._file)
        # The name is in the folder, which is written by itself; a link's is in that of the file that it leads to.
        folder = os.open(self.path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except OSError as exc:
            # Some file systems cannot, and need not.
            if exc.errno not in (errno.EINVAL, errno.EBADF):
                raise
        finally:
            os.close(folder)
        if not os.path.samestat(os.fstat(self._file), self.path.stat()):
            raise OSError(errno.ESTALE, "another file has taken its name")

    def _check(self) -> None:
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise OSError(errno.EINVAL, "it is no file on a disk")

    def _lock(self) -> None:
        # Two that append would cut up each other's lines when the disk is full.
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._is_locked = True
        except BlockingIOError as exc:
            raise OSError(exc.errno, "another process writes it right now") from exc
        except OSError as exc:
            # Some network file systems know no locks.
            if exc.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise

    def _end_line(self) -> None:
        """End the line within which a process was killed; its letter is still in Redis."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")


def _told(error: OSError) -> str:
    return error.strerror or str(error)
