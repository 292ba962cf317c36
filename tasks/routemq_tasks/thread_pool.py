"""The pool of `-P threads`: Celery's, whose threads take what waits for them in fewer steps."""

import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

from celery.concurrency import thread
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state

logger = logging.getLogger(__name__)


class RunThreads(Executor):
    """Threads that run what they are given, in its order.

    Python's own executor makes for each run an object that others may wait on, which nobody does, and wakes a thread
    for it. Here a thread that is awake goes on with what waits; before each run, of which it cannot know that it is
    short, it wakes another one for the rest, unless one was woken that has not come yet. So short runs, for which the
    threads would only fight for the interpreter, stay with one thread; and nothing waits behind a long one.

    The event loop's thread hands runs over, and ends the threads; what waits is theirs and its, by steps of a deque. A
    run is told of by ringing the bell after it was left, so whoever answers finds it; what the bell says is for one.

    Args:
        most: Threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._bell: SimpleQueue[bool] = SimpleQueue()
        # Celery counts them under this name.
        self._threads: set[Thread] = set()
        self._has_ended = self._lacks_threads = False

    def start(self, run: Callable[..., object], *arguments: Any) -> None:
        """Let a thread run this; when the threads were told to end, nobody does."""
        if self._has_ended:
            return
        self._waiting.append((run, arguments))
        if self._bell.empty():
            self._bell.put(True)
        if len(self._threads) < self._most:
            self._add_thread()

    def add_thread_again(self) -> None:
        """Have a thread that the system did not give: the next run, and the end of one, may be long in coming."""
        if self._lacks_threads and self._waiting and not self._has_ended:
            self._add_thread()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run this as `start` does, for Celery's own way with a task; what it returns is never done."""
        self.start(partial(fn, *args, **kwargs))
        return Future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end with what they run; what waits is left to whoever holds it."""
        self._has_ended = True
        self._waiting.clear()
        for _ in self._threads:
            self._bell.put(False)
        if wait:
            for each in self._threads:
                each.join()

    def _add_thread(self) -> None:
        added = Thread(target=self._serve, name=f"routemq-run-{len(self._threads)}")
        try:
            added.start()
        except RuntimeError as exc:
            # What the system has no thread for waits for one of those there are, as in any pool that is busy.
            if not self._lacks_threads:
                logger.warning("the pool of threads is not as large as it may be: %s", exc)
            self._lacks_threads = True
        else:
            self._threads.add(added)
            self._lacks_threads = False

    def _serve(self) -> None:
        waiting, bell = self._waiting, self._bell
        while bell.get():
            while waiting:
                try:
                    run, arguments = waiting.popleft()
                except IndexError:
                    # Another thread was quicker.
                    break
                if waiting and bell.empty():
                    bell.put(True)
                _run(run, arguments)
                del run, arguments


class ThreadPool(thread.TaskPool):
    """Celery's pool of threads, with threads of ours."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.executor = RunThreads(self.limit)
        self._pid = os.getpid()

    def register_with_event_loop(self, loop: Any) -> None:
        """Have what waits looked after in each turn of the loop."""
        loop.on_tick.add(self.executor.add_thread_again)

    def take(self, request: Any) -> None:
        """Let a thread run a route's message."""
        self.executor.start(request.run, self._pid)

    def on_terminate(self) -> None:
        """Let the process end when what runs has ended."""
        self.executor.shutdown(wait=False)


def _run(run: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Run something; if it asks the worker to stop, the loop hears of it, as of what runs in its own thread."""
    try:
        run(*arguments)
    except WorkerShutdown as exc:
        state.should_stop = exc.code or EX_OK
    except WorkerTerminate as exc:
        state.should_terminate = exc.code or EX_FAILURE
    # The thread is there for others, too; of its own runs each has told what became of it.
    except BaseException:
        logger.exception("a thread's run has not come to its end")
