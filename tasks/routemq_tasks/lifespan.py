"""What an application has begun in a process of a worker, by `on_worker_start`, until the process ends."""

import contextlib
import logging
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from billiard import get_start_method
from celery.concurrency.prefork import TaskPool as PreforkPool

from routemq.errors import WorkerStartError
from routemq.logs import unsilence
from routemq.pauses import Pauses
from routemq.project_frame import project_frame
from routemq.text import error_line, printable
from routemq.worker_start import WorkerStart
from routemq_tasks.event_loop import EventLoop
from routemq_tasks.gate import Stopping
from routemq_tasks.hook_life import Closer, begin
from routemq_tasks.outcomes import is_shutdown
from routemq_tasks.upstream.public_names import pool_children

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_REMIND_S = 30.0
_END_S = 2.0
"""Children look so soon whether they are to end, but for one that hangs in a hook."""

_WORD = struct.Struct("!?dH")
_WORD_BYTES = 1024


class StartWord:
    """What the processes of a worker last said of their start, in memory that they share; made before the pool is.

    Each may write it, at any time: what is read is a word for an operator, and whether any has started.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _WORD_BYTES)

    @property
    def has_started(self) -> bool:
        """Whether a process of this worker has ever started."""
        return bool(_WORD.unpack_from(self._memory)[0])

    @property
    def problem(self) -> str | None:
        """Why the last one that tried did not start; None when it did."""
        return self._text.decode(errors="replace") or None

    def started(self) -> None:
        """A process has started."""
        _WORD.pack_into(self._memory, 0, True, 0.0, 0)

    def failed(self, problem: str) -> bool:
        """Note why one did not; return whether to say it: not for each child of a pool, and now and then."""
        has_started, said_at, _ = _WORD.unpack_from(self._memory)
        text = problem.encode(errors="replace")[: _WORD_BYTES - _WORD.size]
        now = time.monotonic()
        speaks = text != self._text or now - said_at >= _REMIND_S
        _WORD.pack_into(self._memory, 0, has_started, now if speaks else said_at, len(text))
        self._memory[_WORD.size : _WORD.size + len(text)] = text
        return speaks

    @property
    def _text(self) -> bytes:
        _, _, length = _WORD.unpack_from(self._memory)
        return self._memory[_WORD.size : _WORD.size + length]


class Lifespan:
    """Runs the hooks of a process in their order, and closes in the other; of the process's main thread alone.

    Sync hooks run in that thread, async ones on the event loop, each in one task from its start to its end.

    Args:
        close_s: How long async hooks may take to close, all together.
    """

    def __init__(self, hooks: Sequence[WorkerStart], stopping: Stopping, *, close_s: float) -> None:
        self.word = StartWord()
        self._hooks, self._stopping, self._close_s = tuple(hooks), stopping, close_s
        self._closers: list[tuple[WorkerStart, Closer]] = []
        self._has_started = False

    def try_start(self, loop: EventLoop) -> str | None:
        """Begin, unless it was begun; return why that failed: then all that it began is closed again.

        Raises:
            BaseException: The worker is being stopped.
        """
        if self._has_started:
            return None
        for hook in self._hooks:
            try:
                try:
                    closer = begin(hook, loop, self._stopping)
                finally:
                    unsilence()
            # Whatever an application's function raises, its worker waits for what it lacks.
            except BaseException as exc:
                self.close(loop)
                if is_shutdown(exc):
                    raise
                return self._say(hook, exc)
            if closer is not None:
                self._closers.append((hook, closer))
        self._has_started = True
        self.word.started()
        return None

    def start_worker(self, pool: Any, loop: Callable[[], EventLoop], wait: Callable[[float, str | None], None]) -> None:
        """Begin in the process of a worker, if its pool has no others; else wait for one of these.

        Args:
            wait: Takes seconds, and what to tell of it meanwhile; raises when the worker is being stopped.
        """
        if not self._hooks:
            return
        if not isinstance(pool, PreforkPool):
            pauses = Pauses(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
            while (problem := self.try_start(loop())) is not None:
                wait(pauses.next_s(), problem)
        # What is spawned shares no memory; and without any children it is for the pool's loop to have new ones.
        while get_start_method() == "fork" and not self.word.has_started and pool_children(pool):
            try:
                wait(_LOOK_S, self.word.problem or "on_worker_start has not come to its end")
            except BaseException:
                _end_children(pool)
                raise

    def start_child(self, loop: Callable[[], EventLoop]) -> None:
        """Begin in a child of a pool, which takes no messages before; for as long as it takes.

        Raises:
            SystemExit: The worker is being stopped.
        """
        if not self._hooks:
            return
        pauses = Pauses(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        while self.try_start(loop()) is not None:
            until = time.monotonic() + pauses.next_s()
            while time.monotonic() < until:
                if self._stopping.begun:
                    raise SystemExit(0)
                time.sleep(_LOOK_S)

    def close(self, loop: EventLoop) -> None:
        """Close what was begun, the last first, each whatever becomes of the others."""
        deadline = time.monotonic() + self._close_s
        self._has_started = False
        while self._closers:
            hook, close = self._closers.pop()
            try:
                close(max(0.5, deadline - time.monotonic()))
            # The others are to be closed, too, and the process is to end.
            except BaseException as exc:
                logger.error("%s, as it closed", _told(hook, exc), exc_info=_unless_known(exc))

    def _say(self, hook: WorkerStart, error: BaseException) -> str:
        problem = _told(hook, error)
        # What a worker that ends has interrupted says nothing of the application.
        if not self._stopping.begun and self.word.failed(problem):
            text = "%s; no messages are taken before it succeeds, trying again"
            logger.error(text, problem, exc_info=_unless_known(error))
        return problem


def _end_children(pool: Any) -> None:
    """Let the children of a pool end that have never begun, and kill what hangs in a hook: they hold no message."""
    until = time.monotonic() + _END_S
    while pool_children(pool) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in pool_children(pool):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _told(hook: WorkerStart, error: BaseException) -> str:
    """Return an error in one line, with the place in the application's own code that it came by."""
    if isinstance(error, WorkerStartError):
        return str(error)
    place = project_frame(error)
    where = f", at {place}" if place else ""
    return printable(f"{hook.source}: on_worker_start {hook.name}: {error_line(error)}{where}")


def _unless_known(error: BaseException) -> BaseException | None:
    return None if isinstance(error, WorkerStartError) else error
