"""A request that a controller has published, until its answer is there or its time is over."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from routemq.errors import RequestError
from routemq.message import Response


class Question:
    """What `client.request` returns: `await` it in an async controller, call `result` in a sync one.

    The thread of the connection settles it, any other one may wait; where threads are greenlets, the event loop's
    thread shares no lock with theirs, so it is woken through its loop.

    Attributes:
        topic: Where it was published.
        number: What its answer brings along, as correlation data.
    """

    def __init__(self, topic: str, timeout_s: float, forget: Callable[["Question"], None]) -> None:
        self.topic, self.number = topic, uuid.uuid4().bytes
        self._timeout_s, self._until, self._forget = timeout_s, time.monotonic() + timeout_s, forget
        self._outcome: Response | str | None = None
        self._settled = threading.Event()
        self._listeners: deque[Callable[[], Any]] = deque()

    @property
    def is_over(self) -> bool:
        """Whether it is settled, or its time is over: no answer is waited for any more."""
        return self._outcome is not None or time.monotonic() >= self._until

    def settle(self, outcome: Response | str) -> None:
        """There is an answer, or a reason why there will be none; the first counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._settled.set()
            for tell in list(self._listeners):
                # A loop that is closed has nobody who waits; the thread of the connection goes on.
                with contextlib.suppress(RuntimeError):
                    tell()

    def result(self) -> Response:
        """Wait for the answer and return it.

        Raises:
            RequestError: There is none in time, or the request could not be published.
        """
        if _runs_a_loop():
            raise RequestError(topic=self.topic, problem="an async controller waits with `await client.request(…)`")
        self._settled.wait(max(0.0, self._until - time.monotonic()))
        return self._given()

    def __await__(self) -> Generator[Any, None, Response]:
        return self._awaited().__await__()

    async def _awaited(self) -> Response:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        self._listeners.append(lambda: loop.call_soon_threadsafe(told.set))
        if self._outcome is None:
            try:
                async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                    await told.wait()
            except TimeoutError:
                pass
        return self._given()

    def _given(self) -> Response:
        self._forget(self)
        outcome = self._outcome
        if isinstance(outcome, Response):
            return outcome
        raise RequestError(topic=self.topic, problem=outcome or f"no answer within {self._timeout_s:g} s")


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
