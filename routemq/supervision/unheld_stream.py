"""Standard error of a supervisor, whose processes stand still when it does."""

import contextlib
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Self, TextIO, cast

_MOST_CHARACTERS = 1_000_000
_PATIENCE_S = 1.0


@contextlib.contextmanager
def unheld_stderr() -> Iterator[None]:
    """Let standard error take everything at once, also for handlers of a log that are made here."""
    try:
        sys.stderr.fileno()
    # There is none, or it is a place in memory: nothing that would stand still.
    except (AttributeError, OSError, ValueError):
        yield
        return
    with UnheldStream(sys.stderr) as stream, contextlib.redirect_stderr(cast("TextIO", stream)):
        yield


class UnheldStream:
    """Writes in a thread of its own, for a stream that takes nothing, such as a paused terminal, would hold all others.

    What does not fit in while the stream takes nothing is left out, and counted where it is missing. Everything else
    is the stream's own. `write` may be called from any thread; all that waits is under the condition.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Of its own: what is written too late must not go to another file that got the number.
        self._fileno = os.dup(stream.fileno())
        # An error would end the thread.
        self._errors = stream.errors if stream.errors not in (None, "strict") else "backslashreplace"
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._size, self._left_out, self._is_open = 0, 0, True
        self._thread = threading.Thread(target=self._run, name="standard error", daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Have written what waits, if that takes no time."""
        if not self._thread.is_alive():
            return
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        self._thread.join(_PATIENCE_S)

    def write(self, text: str) -> int:
        """Have it written."""
        # After the end, or in a fork, which has no thread of its parent's.
        if not self._thread.is_alive():
            return self._stream.write(text)
        with self._changed:
            if self._size + len(text) > _MOST_CHARACTERS:
                self._left_out += text.count("\n")
            else:
                if self._left_out:
                    text = f"({self._left_out} lines are left out here, which nobody took)\n{text}"
                    self._left_out = 0
                self._waiting.append(text)
                self._size += len(text)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing: that would be to wait."""
        if not self._thread.is_alive():
            self._stream.flush()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._waiting:
                    os.close(self._fileno)
                    return
                text = "".join(self._waiting)
                self._waiting.clear()
            raw = text.encode(self._stream.encoding, self._errors)
            # Past Python's buffer: at the end of the process its lock would be this thread's.
            with contextlib.suppress(OSError):
                while raw:
                    raw = raw[self._written(raw) :]
            with self._changed:
                self._size -= len(text)

    def _written(self, raw: bytes) -> int:
        try:
            return os.write(self._fileno, raw)
        except BlockingIOError:
            # Another program, with which it is shared, has set it so.
            taking = select.poll()
            taking.register(self._fileno, select.POLLOUT)
            taking.poll()
            return 0
