"""What Celery and its pools tell of a run: that it is done only if it says so, and nothing that acts as it is read."""

import logging
import os
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.concurrency import solo, thread
from celery.exceptions import Ignore, Reject, Retry, TaskPredicate, WorkerShutdown, WorkerTerminate
from celery.utils.serialization import get_pickleable_exception

from routemq.dead_letters.fingerprint import shortened
from routemq.logs import say
from routemq.text import error_line, printable
from routemq_tasks.errors import ControllerFailedError, NotEndedError
from routemq_tasks.stray_copy import end_copy
from routemq_tasks.thread_pool import ThreadPool

logger = logging.getLogger(__name__)

Report = tuple[int, Any, float | None]
"""What Celery's tracer returns: 1 for a failure; the result, or an `ExceptionInfo`; how long it took, in seconds."""

_TRACEBACK_LENGTH = 16_000
_ACTED_ON = (MemoryError, SystemExit, KeyboardInterrupt)
"""Of the exceptions that any program has, those that Celery does something about."""


def checked(report: Report) -> Report:
    """Return a report, as a failure if nothing in it says that the run came to its end.

    Celery reports a success without a duration when it could not even begin, and of a greenlet that was killed.
    """
    failed, _, runtime = report
    return report if failed or runtime is not None else _failure(NotEndedError("there is no report of its end"))


def unknown() -> Report:
    """Return the report of a run that has ended, nobody knows how: what is recorded stands, what is not comes back."""
    return _failure(Reject("nothing is known of its end", requeue=True))


def tellable(error: BaseException, told: str) -> Exception:
    """Return an exception for Celery to tell its listeners of: the very one where that is safe, else a stand-in.

    Args:
        told: It, in one line.
    """
    try:
        # What Celery, and its pool, will do with it.
        traceback.format_exception(error)
        get_pickleable_exception(error)
    # Even `SystemExit`: an exception that is asked for its text, its truth or its parts runs the user's code.
    except BaseException as exc:  # noqa: BLE001
        say(logger, logging.DEBUG, "an exception cannot be told to Celery: %s", type(exc).__name__)
        return ControllerFailedError(told)
    if isinstance(error, Exception) and not isinstance(error, (MemoryError, TaskPredicate)):
        return error
    # Celery, or its pool, would act on it.
    stand_in = ControllerFailedError(told)
    stand_in.__cause__ = error
    return stand_in


def watched(pool: type[Any]) -> type[Any]:
    """Return a pool of threads, greenlets or of the worker's own, that reports whatever becomes of a run.

    Celery's would lose the message of a run that raises what is not expected of it: nobody looks at a thread's result.

    Where a run needs nothing of its pool but a thread, the pool takes a request in fewer steps.
    """

    class WatchedPool(_OURS.get(pool, pool)):  # type: ignore[misc]
        pid = os.getpid()

        def apply_async(self, target: Callable[..., Report], *args: Any, **options: Any) -> Any:
            if (accept := options.get("accept_callback")) is not None:
                options["accept_callback"] = partial(_accepted, accept)
            return super().apply_async(partial(report_of, target), *args, **options)

    # Celery shows both.
    WatchedPool.__name__, WatchedPool.__module__ = pool.__name__, pool.__module__
    return WatchedPool


def _accepted(accept: Callable[..., object], *args: Any, **options: Any) -> None:
    try:
        accept(*args, **options)
    # As in a process, it runs: of what is not run here, no end would be told, and nobody would let go of it.
    except Exception:  # noqa: BLE001
        say(logger, logging.ERROR, "the start of a run is not told", exc_info=True)


class _SoloPool(solo.TaskPool):
    def take(self, request: Any) -> None:
        request.run(self.pid)


_OURS = {solo.TaskPool: _SoloPool, thread.TaskPool: ThreadPool}


def portable(info: ExceptionInfo) -> ExceptionInfo:
    """Return the description of an exception without anything that another process would have to import or run."""
    error = info.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    try:
        plain = _plain(error)
    # Whatever an exception of a user's does.
    except Exception:  # noqa: BLE001
        plain = ControllerFailedError("an exception that cannot be told")
    told = ExceptionInfo.__new__(ExceptionInfo)
    told.type, told.exception, told.internal, told.tb = type(plain), plain, bool(info.internal), None
    told.traceback = _shown(str(info.traceback))
    return told


def last_word(info: ExceptionInfo) -> ExceptionInfo:
    """Return what another process may hear of an exception, and let go of what the run had in hand."""
    told = portable(info)
    let_go(info)
    return told


def let_go(info: ExceptionInfo) -> None:
    """Free the frames of a run that failed, when everybody has been told.

    They hold the exception, and it holds them: they would wait for the collector, each with a list of its positions,
    and a child would grow by more than all else of its messages takes.
    """
    info.tb = None
    error = info.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    # A class of a user's may have its own idea of both attributes.
    cause = error.exc if isinstance(error, Retry) else vars(BaseException)["__cause__"].__get__(error)
    for held in (error, cause):
        if issubclass(type(held), BaseException):
            BaseException.with_traceback(held, None)


def _plain(error: BaseException) -> Any:
    if isinstance(error, Reject):
        return Reject(printable(str(error.reason)), requeue=bool(error.requeue))
    if isinstance(error, Retry):
        cause = None if error.exc is None else ControllerFailedError(_told(error.exc))
        return Retry(exc=cause, when=error.when if isinstance(error.when, (int, float)) else None)
    for kind in (Ignore, NotEndedError, *_ACTED_ON):
        if isinstance(error, kind):
            return kind(error_line(error))
    return ControllerFailedError(_told(error))


def _told(error: BaseException) -> str:
    try:
        told = repr(error)
    # As every other text of a user's.
    except Exception:  # noqa: BLE001
        return error_line(error)
    return _shown(told, lines=False)


def _shown(text: str, *, lines: bool = True) -> str:
    # Cut before each character is looked at, which takes seconds for what some exceptions have to say.
    text = text if len(text) <= _TRACEBACK_LENGTH else shortened(text, _TRACEBACK_LENGTH)
    return shortened(printable(text, lines=lines), _TRACEBACK_LENGTH)


def report_of(run: Callable[..., Report], *args: Any, **options: Any) -> Report:
    """Run something, and return its report; one that tells why there is none, if it does not come to its end."""
    pid = os.getpid()
    try:
        report = checked(run(*args, **options))
        end_copy(pid)
        return report
    except (WorkerShutdown, WorkerTerminate):
        raise
    # As a child's death in the pool of processes, it is reported, and judged there.
    except BaseException as exc:  # noqa: BLE001
        end_copy(pid, exc)
        return _failure(NotEndedError(error_line(exc)))


def _failure(error: Exception) -> Report:
    info = ExceptionInfo.__new__(ExceptionInfo)
    info.type, info.exception, info.tb, info.traceback, info.internal = type(error), error, None, "", True
    return 1, info, None
