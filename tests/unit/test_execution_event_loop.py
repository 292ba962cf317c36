import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from routemq_tasks.errors import TimedOutError
from routemq_tasks.event_loop import EventLoop

from tests.processes import PATIENCE_S


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def test_runs_share_the_loop_and_its_thread(loop: EventLoop) -> None:
    async def where() -> tuple[int, str]:
        return id(asyncio.get_running_loop()), threading.current_thread().name

    assert len({loop.run(where) for _ in range(5)}) == 1
    assert loop.run(where)[1] == "routemq-loop"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_a_run_raises_reaches_its_caller_and_the_loop_goes_on(loop: EventLoop, error: BaseException) -> None:
    async def fail() -> None:
        raise error

    async def fine() -> str:
        return "fine"

    with pytest.raises(type(error)) as raised:
        loop.run(fail)
    assert raised.value is error
    assert loop.run(fine) == "fine"


def test_a_run_that_takes_too_long_is_cancelled(loop: EventLoop) -> None:
    seen: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            seen.append("cleaned up")

    started = time.monotonic()
    with pytest.raises(TimedOutError):
        loop.run(slow, timeout_s=0.1)
    assert seen == ["cleaned up"]
    assert time.monotonic() - started < PATIENCE_S


def test_a_timeout_of_the_controllers_own_is_its_failure(loop: EventLoop) -> None:
    async def own() -> None:
        raise TimeoutError("a device did not answer")

    with pytest.raises(TimeoutError, match="device"):
        loop.run(own, timeout_s=10)
