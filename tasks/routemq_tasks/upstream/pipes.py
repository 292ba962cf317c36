"""The pipes between the prefork pool and its children, with fewer system calls and less pickling for each job.

To a child goes a bundle, in one write: `(BUNDLE, (number, calls))`, as one object, so that what its messages have alike
is there once; or a single job, Celery's way.
Of a bundle's jobs the page says when they begin and that they succeeded; what else became of one is told at once, as
`(ENDED, (pid, slot, outcome))`. `(LOOK, (pid, number))` asks the pool to look at the page: the child is at the end of
the bundle with that number, or, without a number, about to end itself.
"""

import errno
import fcntl
import os
import pickle
import select
import struct
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

from billiard.common import pickle_loads
from billiard.pool import ACK, EX_FAILURE, EX_OK, READY, TASK
from celery.concurrency.asynpool import ResultHandler

from routemq_tasks.bundle_page import BundlePage
from routemq_tasks.child_signals import EndableWorker
from routemq_tasks.reports import checked, last_word
from routemq_tasks.stray_copy import end_copy
from routemq_tasks.upstream.tracer import run_route

_HEADER = struct.Struct("!i")
_MOST_PER_READ = 65536
_COME_AGAIN = (errno.EAGAIN, errno.EINTR)

BUNDLE, ENDED, LOOK = 21, 22, 23
"""Kinds of messages; billiard and Celery have theirs below 16."""

_PLAIN = repr(None)
"""What Celery's tracer says of a run that returned nothing."""

Payload = tuple[memoryview, memoryview, int]

Outcome = tuple[bool, Any]
"""What billiard's child says of a job: whether it returned; what, or an `ExceptionInfo`."""

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""What a child calls: a function, its arguments and its keywords."""


def framed(job: object) -> Payload:
    """Return a job as Celery's pool writes it: first part, second part, and the length of the second.

    A job that a pipe takes whole or not at all is one part, so that its child is woken once, with all of it there.
    """
    body = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
    header = _HEADER.pack(len(body))
    if len(header) + len(body) <= select.PIPE_BUF:
        return memoryview(header + body), memoryview(b""), 0
    return memoryview(header), memoryview(body), len(body)


def bundled(number: int, calls: list[Call]) -> bytes:
    """Return a bundle as it is written."""
    body = pickle.dumps((BUNDLE, (number, calls)), pickle.HIGHEST_PROTOCOL)
    return _HEADER.pack(len(body)) + body


def room_of(pipe: int) -> int:
    """Return how many bytes an empty pipe takes at once."""
    get_size = getattr(fcntl, "F_GETPIPE_SZ", None)
    return select.PIPE_BUF if get_size is None else fcntl.fcntl(pipe, get_size)


class QuickWorker(EndableWorker):
    """Celery's child, which takes bundles, and sends nothing but what is plain, without the pickler that knows locks.

    An exception of a class that the parent cannot import, or whose making there fails, would end the worker.

    Attributes:
        page: What it shares with its parent; a child that is spawned has none, and is given no bundles.
    """

    page: BundlePage | None = None
    _slot: int | None = None
    _uncounted = 0

    def after_fork(self) -> None:
        """Set up the process, which is to be told from what a task of it forks."""
        self._pid = os.getpid()
        super().after_fork()

    def _make_child_methods(self, *args: Any, **options: Any) -> None:
        super()._make_child_methods(*args, **options)
        send = self.outq.send_payload
        self._send: Callable[[Any], None] = lambda message: send(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        self.outq.put = self._put
        if self.page is not None:
            self.wait_for_job = partial(next, self._received(self.page))

    def _received(self, page: BundlePage) -> Iterator[Any]:
        """Give what comes through the pipe, a job after the other; of a bundle's, those that are not taken back."""
        # billiard's loop has to see each run where it replaces the child after so many, or so much of memory.
        is_counted = bool(self.maxtasks or self.max_memory_per_child)
        while not self._is_replaced() and (message := self._next_message()) is not None:
            kind, details = message
            if kind != BUNDLE:
                yield message
                continue
            number, calls = details
            for slot, call in enumerate(calls):
                if self._is_replaced():
                    raise SystemExit(EX_OK)
                if not page.begin(number, slot):
                    continue
                self._slot = slot
                ended = self._run(call) if call[0] is run_route and not is_counted else None
                if ended is not None and _is_plain(ended):
                    page.done(slot)
                    self._uncounted += 1
                    continue
                yield TASK, (None, None, *(call if ended is None else (_tell, ended, {})))
            self._slot = None
            self._send((LOOK, (os.getpid(), number)))
        # Another takes its place; else the pool has no more work, or is gone.
        raise SystemExit(EX_OK if self._is_replaced() else EX_FAILURE)

    def _run(self, call: Call) -> Outcome:
        function, args, options = call
        try:
            return True, function(*args, **options)
        # Whatever it is: what becomes of it, and of this child, is decided where each run of a job is seen.
        except BaseException as exc:  # noqa: BLE001
            return False, exc

    def _next_message(self) -> Any:
        try:
            frame = self.inq.get_payload()
        except (EOFError, OSError):
            return None
        return pickle_loads(frame)

    def _is_replaced(self) -> bool:
        """Tell whether an operator has the pool's children replaced (`pool_restart`)."""
        return self._shutdown is not None and bool(self._shutdown.is_set())

    def _put(self, message: Any) -> None:
        kind, details = message
        slot = self._slot
        if kind == READY:
            end_copy(self._pid)
            job, number, outcome, file = details
            outcome = told(*outcome)
            if slot is not None and self.page is not None:
                if _is_plain(outcome):
                    self.page.done(slot)
                else:
                    self._send((ENDED, (os.getpid(), slot, outcome)))
                    self.page.told(slot)
                return
            message = kind, (job, number, outcome, file)
        elif kind == ACK and slot is not None:
            return
        self._send(message)

    def _ensure_messages_consumed(self, completed: int) -> bool:
        """Wait until the parent knows what this child has done, before it ends."""
        if self._slot is not None:
            self._send((LOOK, (os.getpid(), None)))
        return bool(super()._ensure_messages_consumed(completed + self._uncounted))


def _is_plain(outcome: Outcome) -> bool:
    returned, report = outcome
    return returned and report[:2] == (0, _PLAIN) and report[2] is not None


def _tell(returned: bool, result: Any) -> Any:
    """End as a run has ended."""
    if returned:
        return result
    raise result


def told(returned: bool, result: Any) -> Outcome:
    """Return what the parent hears of a run, and let go of what a failed one had in hand."""
    if not returned:
        return False, last_word(result)
    failed, value, runtime = checked(result)
    return True, (failed, last_word(value) if failed else value, runtime)


class QuickResultHandler(ResultHandler):
    """Celery's reader of the children's results, which reads all that is there in one system call.

    A child says that it starts and soon after that it is done: mostly both are there.
    """

    def _make_process_result(self, hub: Any) -> Callable[[int], None]:
        known, dispatch = self.fileno_to_outq, self.on_state_change

        def on_result_readable(fileno: int) -> None:
            if fileno not in known:
                hub.remove_reader(fileno)
                return
            reading = read_messages(fileno, dispatch)
            try:
                next(reading)
            except StopIteration:
                return
            except (OSError, EOFError):
                hub.remove_reader(fileno)
            else:
                # Half a message: the loop, or a shutdown, goes on with this very generator.
                hub.add_reader(fileno, self._resumed(hub, fileno, reading))

        return on_result_readable

    def _resumed(self, hub: Any, fileno: int, reading: Generator[None, None, None]) -> Generator[None, None, None]:
        try:
            yield from reading
        except (OSError, EOFError):
            hub.remove_reader(fileno)
        else:
            hub.add_reader(fileno, self.handle_event, fileno)


def read_messages(fileno: int, dispatch: Callable[[Any], None]) -> Generator[None, None, None]:
    """Read until no message is left half read, and hand over each; yields while it waits for the rest."""
    data = b""
    while True:
        try:
            chunk = os.read(fileno, _MOST_PER_READ)
        except OSError as exc:
            if exc.errno not in _COME_AGAIN:
                raise
            if not data:
                return
            yield
            continue
        if not chunk:
            raise EOFError
        data += chunk
        messages, data = _split(data)
        _hand_over(messages, dispatch)
        if not data:
            return


def _split(data: bytes) -> tuple[list[Any], bytes]:
    messages, position, length = [], 0, len(data)
    while length - position >= _HEADER.size:
        (size,) = _HEADER.unpack_from(data, position)
        end = position + _HEADER.size + size
        if end > length:
            break
        messages.append(pickle.loads(memoryview(data)[position + _HEADER.size : end]))  # noqa: S301  our own child's
        position = end
    return messages, data[position:]


def _hand_over(messages: list[Any], dispatch: Callable[[Any], None]) -> None:
    for number, message in enumerate(messages):
        try:
            if message:
                dispatch(message)
        except BaseException:
            # The others have left the pipe already; nobody else would hear of them.
            _hand_over(messages[number + 1 :], dispatch)
            raise
