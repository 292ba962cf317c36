"""One event loop per process: what async controllers keep open lives on from one message to the next."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from routemq_tasks.errors import TimedOutError

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


class EventLoop:
    """A loop in a daemon thread, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, start: Callable[[], Awaitable[Any]], *, timeout_s: float | None = None) -> Any:
        """Run `await start()` on the loop and wait for it in this thread; an interrupted wait cancels it.

        Raises:
            TimedOutError: It took longer than `timeout_s`.
            BaseException: Whatever it raised.
        """
        ended = threading.Event()
        future = asyncio.run_coroutine_threadsafe(_run(start, timeout_s, ended), self._loop or self._started())
        try:
            outcome = future.result()
        except BaseException:
            future.cancel()
            if not ended.wait(_CLEANUP_S):
                logger.warning("a cancelled controller did not end within %.0f s; it is left behind", _CLEANUP_S)
            raise
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def close(self) -> None:
        """Cancel what still runs on the loop, and stop it; what does not end soon is left behind."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2 * _CLEANUP_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="routemq-sync"))
                self._thread = threading.Thread(target=_serve, args=(loop,), name="routemq-loop", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as exc:
            # Raised in a task that a controller started: asyncio lets it through, the other messages' runs go on.
            logger.error("a controller's background task raised %s; the event loop goes on", type(exc).__name__)
        else:
            _end(loop)
            return


def _end(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEANUP_S))
    loop.close()


async def _run(start: Callable[[], Awaitable[Any]], timeout_s: float | None, ended: threading.Event) -> Any:
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
    finally:
        ended.set()
