"""Threads that nobody waits for when Flower ends."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_Job = tuple[Future[Any], Callable[[], Any]]


class DaemonThreads(Executor):
    """A few threads, started on first use.

    `ThreadPoolExecutor` keeps the process alive until its last job has ended, and a search through a million letters,
    or their replay, takes its time. All that is done here may be cut off at any moment.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._count, self._name = count, name
        # As long as there are requests that wait for an answer, and Flower has few visitors.
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Queue a call."""
        future: Future[R] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        with self._lock:
            if len(self._threads) < self._count:
                name = f"{self._name}-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        return future

    def _work(self) -> None:
        while True:
            future, call = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            # It is raised where the answer is awaited.
            except BaseException as exc:  # noqa: BLE001
                future.set_exception(exc)
            else:
                future.set_result(result)
            # Not kept until the next job comes.
            del future, call
