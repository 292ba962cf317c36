"""The pipes between the prefork pool and its children, with fewer system calls and less pickling for each job."""

import errno
import os
import pickle
import select
import struct
from collections.abc import Callable, Generator
from typing import Any

from billiard.pool import READY
from celery.concurrency.asynpool import ResultHandler

from routemq_tasks.child_signals import EndableWorker
from routemq_tasks.reports import checked, last_word

_HEADER = struct.Struct("!i")
_MOST_PER_READ = 65536
_COME_AGAIN = (errno.EAGAIN, errno.EINTR)

Payload = tuple[memoryview, memoryview, int]


def framed(job: object) -> Payload:
    """Return a job as Celery's pool writes it: first part, second part, and the length of the second.

    A job that a pipe takes whole or not at all is one part, so that its child is woken once, with all of it there.
    """
    body = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
    header = _HEADER.pack(len(body))
    if len(header) + len(body) <= select.PIPE_BUF:
        return memoryview(header + body), memoryview(b""), 0
    return memoryview(header), memoryview(body), len(body)


class QuickWorker(EndableWorker):
    """Celery's child, which sends nothing but what is plain, and so without the pickler that knows pipes and locks.

    An exception of a class that the parent cannot import, or whose making there fails, would end the worker.
    """

    def _make_child_methods(self, *args: Any, **options: Any) -> None:
        super()._make_child_methods(*args, **options)
        queue = self.outq
        send = queue.send_payload

        def put(message: Any) -> None:
            kind, details = message
            if kind == READY:
                job, number, outcome, file = details
                details = job, number, told(*outcome), file
            send(pickle.dumps((kind, details), pickle.HIGHEST_PROTOCOL))

        queue.put = put


def told(returned: bool, result: Any) -> tuple[bool, Any]:
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
