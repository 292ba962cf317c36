"""One event loop per process: what async controllers keep open lives on from one message to the next."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from routemq.logs import say
from routemq_tasks.errors import LoopBrokenError, TimedOutError
from routemq_tasks.green import Greenlets, are_greenlets, call, start_real_thread
from routemq_tasks.stray_copy import end_copy

logger = logging.getLogger(__name__)

_CLEANUP_S = 2.0
"""How long a cancelled run may take to clean up before its worker goes on without it."""

_MOST_THREADS = 1024
"""Threads for the sync links of async chains. A link holds its thread while the inner ones run, so a small pool that is
full of outer links would wait for ever for an inner one; threads are only started when they are needed."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """How a run ended, if not well: `SystemExit` from a task would end the loop itself."""

    error: BaseException


class _Call:
    """One run on the loop, from the thread, or greenlet, that waits for it.

    Args:
        hand_over: Calls a function of its where the waiting thread may be woken; on the loop's own thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hand_over: Callable[[Callable[[], Any]], Any]) -> None:
        self._loop, self._hand_over = loop, hand_over
        self._ended = threading.Event()
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        self._broken: LoopBrokenError | None = None

    def begin(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._loop.call_soon_threadsafe(self._begin, run)

    def wait(self, timeout_s: float | None = None) -> bool:
        return self._ended.wait(timeout_s)

    def cancel(self) -> None:
        # There may be no loop any more that it runs on.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)

    def fail(self, error: LoopBrokenError) -> None:
        """It has no loop any more."""
        self._broken = error
        self._hand_over(self._ended.set)

    def result(self) -> Any:
        if self._broken is not None:
            raise self._broken
        if self._task is None or self._task.cancelled():
            raise asyncio.CancelledError
        outcome = self._task.result()
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def _begin(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._task = self._loop.create_task(run())
        self._task.add_done_callback(lambda _task: self._hand_over(self._ended.set))
        if self._is_cancelled:
            self._task.cancel()

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()


class EventLoop:
    """A loop in a daemon thread of its own, started on first use; a real one, also where threads are greenlets.

    Else a loop that runs in one greenlet would run, as asyncio sees it, in all of them: no sync controller could run
    another one, nor use what refuses to block a loop, such as Django's ORM.

    Args:
        loop: One that runs already, in another thread than those that call `run`; by default one is started.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._lock = threading.Lock()
        self._loop = loop
        self._hand_over: Callable[[Callable[[], Any]], Any] = call
        self._calls: set[_Call] = set()
        self._is_closing = False
        self._stopped = threading.Event()

    def run(
        self, start: Callable[[], Awaitable[Any]], *, timeout_s: float | None = None, patience_s: float | None = None
    ) -> Any:
        """Run `await start()` on the loop and wait for it in this thread; an interrupted wait cancels it.

        Args:
            timeout_s: So long it may take.
            patience_s: So long this thread waits, also for a loop that something holds up.

        Raises:
            TimedOutError: It took longer than `timeout_s`.
            TimeoutError: The loop has said nothing within `patience_s`.
            LoopBrokenError: The loop came to an end under it.
            BaseException: Whatever it raised.
        """
        with self._lock:
            run = _Call(self._loop or self._started(), self._hand_over)
            self._calls.add(run)
        try:
            run.begin(partial(_run, start, timeout_s))
            if not run.wait(patience_s):
                raise TimeoutError("the event loop does not answer, something on it blocks")  # noqa: TRY301  as below
        except BaseException:
            run.cancel()
            if not run.wait(_CLEANUP_S):
                logger.warning("a cancelled controller did not end within %.0f s; it is left behind", _CLEANUP_S)
            raise
        finally:
            self._calls.discard(run)
        return run.result()

    def hand_over(self, function: Callable[[], Any]) -> None:
        """Call a function from the loop's thread where all but it may block: here, or in a greenlet among theirs."""
        self._hand_over(function)

    def close(self) -> None:
        """Cancel what still runs on the loop, and stop it; what does not end soon is left behind."""
        self._is_closing = True
        loop = self._loop
        if loop is not None:
            # It has ended already where this is asked twice.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
            self._stopped.wait(2 * _CLEANUP_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        begun = Future[asyncio.AbstractEventLoop]()
        # Each loop has its own: of one that is broken it would say that the next one has stopped.
        self._stopped = threading.Event()
        if are_greenlets():
            greenlets = Greenlets()
            self._hand_over = greenlets.call
            start_real_thread(partial(self._serve, partial(_GreenLoop, greenlets), begun))
        else:
            serve = partial(self._serve, _threaded_loop, begun)
            threading.Thread(target=serve, name="routemq-loop", daemon=True).start()
        # Made by the thread that runs it: sockets of gevent belong to one.
        return begun.result()

    def _serve(self, make: Callable[[], asyncio.AbstractEventLoop], begun: Future[asyncio.AbstractEventLoop]) -> None:
        threading.current_thread().name = "routemq-loop"
        stopped = self._stopped
        try:
            loop = self._loop = make()
        # No descriptor is free, say: raised in who waits for it, and the next one tries again.
        except BaseException as exc:  # noqa: BLE001
            self._hand_over(partial(begun.set_exception, exc))
            return
        asyncio.set_event_loop(loop)
        self._hand_over(partial(begun.set_result, loop))
        try:
            _serve(loop, is_closing=lambda: self._is_closing)
            _end(loop)
        # A controller has closed what it stands on: whoever waits for it would wait for ever.
        except BaseException as exc:  # noqa: BLE001
            self._break(loop, exc)
        finally:
            self._hand_over(stopped.set)

    def _break(self, loop: asyncio.AbstractEventLoop, error: BaseException) -> None:
        with self._lock:
            self._loop = None
            calls = list(self._calls)
        for each in calls:
            each.fail(LoopBrokenError(error=error))
        say(logger, logging.ERROR, "%s; the next async controller begins another", LoopBrokenError(error=error))
        # Whoever comes to it late is refused.
        with contextlib.suppress(Exception):
            loop.close()


class _SyncLinks(ThreadPoolExecutor):
    """Threads in each of which a controller may fork, too."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return super().submit(_alone, os.getpid(), function, *args, **options)


def _alone(pid: int, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        result = function(*args, **options)
    except BaseException as exc:
        end_copy(pid, exc)
        raise
    end_copy(pid)
    return result


class _GreenLoop(asyncio.SelectorEventLoop):
    """A loop whose sync links run among the greenlets, as every sync controller does there."""

    def __init__(self, greenlets: Greenlets) -> None:
        super().__init__()
        self._greenlets = greenlets

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Have a function called in a greenlet; with an executor of the caller's, there."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except BaseException as exc:  # noqa: BLE001  handed to who awaits it
                # A future takes no StopIteration.
                error = RuntimeError(repr(exc)) if isinstance(exc, StopIteration) else exc
                self.call_soon_threadsafe(_settle, future, future.set_exception, error)
            else:
                self.call_soon_threadsafe(_settle, future, future.set_result, result)

        self._greenlets.call(work)
        return future


def _threaded_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_SyncLinks(_MOST_THREADS, thread_name_prefix="routemq-sync"))
    return loop


def _settle(future: "asyncio.Future[Any]", setter: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        setter(value)


def _serve(loop: asyncio.AbstractEventLoop, *, is_closing: Callable[[], bool]) -> None:
    """Run a loop until it is closed, whoever else stops it."""
    while not is_closing():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as exc:
            # Raised in a task that a controller started: asyncio lets it through, the other messages' runs go on.
            text = "a controller's background task raised %s; the event loop goes on"
            say(logger, logging.ERROR, text, type(exc).__name__)
        else:
            if not is_closing():
                text = "a controller has stopped the event loop, which is that of others too; it goes on"
                say(logger, logging.ERROR, text)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEANUP_S))
    loop.close()


async def _run(start: Callable[[], Awaitable[Any]], timeout_s: float | None) -> Any:
    pid = os.getpid()
    outcome = await _outcome(start, timeout_s)
    end_copy(pid, outcome.error if isinstance(outcome, _Raised) else None)
    return outcome


async def _outcome(start: Callable[[], Awaitable[Any]], timeout_s: float | None) -> Any:
    try:
        if timeout_s is None:
            return await start()
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await start()
        except TimeoutError as exc:
            if limit.expired():
                return _Raised(TimedOutError(timeout_s).with_traceback(exc.__traceback__))
            raise
    except BaseException as exc:  # noqa: BLE001  handed to the thread that waits, which judges it
        return _Raised(exc)
