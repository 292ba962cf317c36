import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from routemq_tasks.errors import LoopBrokenError, TimedOutError
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


def test_nobody_waits_for_a_loop_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = EventLoop()

    def refuse() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    async def fine() -> str:
        return "fine"

    with monkeypatch.context() as full:
        full.setattr("routemq_tasks.event_loop._threaded_loop", refuse)
        with ThreadPoolExecutor(1) as other:
            for _ in range(2):
                with pytest.raises(OSError, match="Too many open files"):
                    other.submit(loop.run, fine).result(PATIENCE_S)
    assert loop.run(fine) == "fine"
    loop.close()
    loop.close()


def test_a_loop_that_a_controller_stops_goes_on_with_what_others_run(loop: EventLoop) -> None:
    began, goes_on = threading.Event(), asyncio.Event()

    async def waits() -> str:
        began.set()
        await goes_on.wait()
        return "fine"

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    async def release() -> None:
        goes_on.set()

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(loop.run, waits)
        assert began.wait(PATIENCE_S)
        loop.run(stop)
        loop.run(release)
        assert waiting.result(PATIENCE_S) == "fine"


def test_nobody_waits_for_a_loop_that_a_controller_has_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = EventLoop()
    began, broken, ended = threading.Event(), list[Any](), list[str]()

    def refuse(_record: logging.LogRecord) -> bool:
        raise OSError("the server of the log is away")

    # A filter of the application's, which logging asks before any handler.
    monkeypatch.setattr(logging.getLogger("routemq_tasks.event_loop"), "filters", [refuse])

    async def waits() -> None:
        began.set()
        await asyncio.Event().wait()

    async def break_it() -> None:
        broken.append(asyncio.get_running_loop())
        for task in asyncio.all_tasks():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # of another test's log
        broken[0]._selector.close()

    async def ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            ended.append("cleaned up")

    async def begin() -> str:
        background.add(asyncio.create_task(ends()))
        await asyncio.sleep(0)
        return "fine"

    background = set[Any]()
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(loop.run, waits)
        assert began.wait(PATIENCE_S)
        with contextlib.suppress(LoopBrokenError):
            loop.run(break_it)
        with pytest.raises(LoopBrokenError, match="has closed what it stands on"):
            waiting.result(PATIENCE_S)
    assert loop.run(begin) == "fine"
    loop.close()
    assert ended == ["cleaned up"]
    # As far as it can be closed.
    for end in (broken[0]._ssock, broken[0]._csock):
        end.close()
    asyncio.BaseEventLoop.close(broken[0])


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
