"""Hooks of `on_worker_start`: each form of one, what is wrong with one, and what closes what was begun."""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from routemq_tasks import event_loop
from routemq_tasks.event_loop import EventLoop
from routemq_tasks.gate import Stopping
from routemq_tasks.lifespan import Lifespan, StartWord

from routemq import Router
from routemq.errors import WorkerStartError

Notes = list[str]


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


def lifespan(*functions: Callable[[], Any], stopping: Stopping | None = None, close_s: float = 20.0) -> Lifespan:
    router = Router()
    for function in functions:
        router.on_worker_start(function)
    return Lifespan(router.starts, stopping or Stopping(), close_s=close_s)


def forms(notes: Notes) -> list[Callable[[], Any]]:
    def note(what: str) -> Callable[[], None]:
        return functools.partial(notes.append, what)

    async def note_async(what: str) -> None:
        await asyncio.sleep(0)
        notes.append(what)

    def nothing() -> None:
        notes.append("+nothing")

    def returns() -> Callable[[], None]:
        notes.append("+returns")
        return note("-returns")

    def returns_async() -> Callable[[], Any]:
        notes.append("+returns_async")
        return functools.partial(note_async, "-returns_async")

    def yields() -> Iterator[None]:
        notes.append("+yields")
        yield
        notes.append("-yields")

    async def nothing_async() -> None:
        await note_async("+nothing_async")

    async def async_returns() -> Callable[[], None]:
        await note_async("+async_returns")
        return note("-async_returns")

    async def yields_async() -> AsyncIterator[None]:
        # A scope may be left by the task alone that has entered it.
        async with asyncio.timeout(60), asyncio.TaskGroup():
            await note_async("+yields_async")
            yield
            await note_async("-yields_async")

    return [nothing, returns, returns_async, yields, nothing_async, async_returns, yields_async]


def test_every_form_is_begun_in_order_and_closed_in_the_other(loop: EventLoop) -> None:
    notes: Notes = []
    begun = lifespan(*forms(notes))
    assert begun.try_start(loop) is None
    assert begun.try_start(loop) is None
    names = [form.__name__ for form in forms([])]
    assert notes == [f"+{name}" for name in names]
    assert (begun.word.has_started, begun.word.problem) == (True, None)

    notes.clear()
    begun.close(loop)
    begun.close(loop)
    assert notes == [f"-{name}" for name in reversed(names) if not name.startswith("nothing")]


def fails() -> None:
    raise LookupError("no such host")


def silences() -> None:
    logging.getLogger("routemq_tasks.lifespan").disabled = True  # as `dictConfig` does, by default
    fails()


def test_one_that_configures_logging_silences_no_failure(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    lifespan(silences).try_start(loop)
    assert "LookupError: no such host" in caplog.text


def leaves() -> None:
    raise SystemExit(3)


async def fails_async() -> None:
    raise LookupError("no such host")


async def leaves_async() -> None:
    raise SystemExit(3)


def fails_before_its_yield() -> Iterator[None]:
    raise LookupError("no such host")
    yield  # type: ignore[unreachable]


async def fails_before_its_yield_async() -> AsyncIterator[None]:
    raise LookupError("no such host")
    yield  # type: ignore[unreachable]


@pytest.mark.parametrize(
    "hook", [fails, fails_async, fails_before_its_yield, fails_before_its_yield_async, leaves, leaves_async]
)
def test_one_that_fails_is_told_with_its_places_and_leaves_nothing_open(
    loop: EventLoop, hook: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    notes: Notes = []
    begun = lifespan(*forms(notes), hook)
    problem = begun.try_start(loop)
    assert problem is not None
    assert problem.startswith("tests/unit/test_lifespan.py:")
    assert f"on_worker_start tests.unit.test_lifespan:{hook.__name__}: " in problem
    assert (
        ": LookupError: no such host, at tests/unit/test_lifespan.py, line " in problem
        or "SystemExit: 3, at" in problem
    )
    assert [note[1:] for note in notes if note[0] == "-"][-1] == "returns"
    assert (begun.word.has_started, begun.word.problem) == (False, problem)

    # Said once for all processes, and then now and then.
    begun.try_start(loop)
    assert [record.getMessage() for record in caplog.records] == [
        f"{problem}; no messages are taken before it succeeds, trying again"
    ]


def returns_an_engine() -> object:
    return {"an": "engine"}


async def returns_an_engine_async() -> object:
    return {"an": "engine"}


def returns_what_wants_more() -> Callable[[str], None]:
    return lambda _how: None


@contextlib.contextmanager
def of_contextlib() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def of_contextlib_async() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("hook", "returned"),
    [
        (returns_an_engine, "dict"),
        (returns_an_engine_async, "dict"),
        (returns_what_wants_more, "function"),
        (of_contextlib, "_GeneratorContextManager"),
        (of_contextlib_async, "_AsyncGeneratorContextManager"),
    ],
)
def test_what_nobody_could_close_is_refused_with_the_mend(
    loop: EventLoop, hook: Callable[[], Any], returned: str
) -> None:
    problem = lifespan(hook).try_start(loop)
    assert problem is not None
    assert problem.endswith(
        f"{hook.__name__}: it returned {returned}, which nobody could close. Mend: return None or a function without "
        "arguments that closes, or `yield`, without @contextmanager, and close after that."
    )


def test_what_goes_wrong_as_one_closes_keeps_none_of_the_others_open(
    loop: EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> Callable[[], None]:
        return leaves

    def twice() -> Iterator[None]:
        yield
        yield

    async def twice_async() -> AsyncIterator[None]:
        yield
        yield

    async def never() -> AsyncIterator[None]:
        yield
        await asyncio.sleep(3600)

    notes: Notes = []
    begun = lifespan(*forms(notes), bad, twice, twice_async, never, close_s=0.1)
    assert begun.try_start(loop) is None
    began_at = time.monotonic()
    begun.close(loop)
    assert time.monotonic() - began_at < 60
    assert [note[1:] for note in notes if note[0] == "-"][-1] == "returns"
    told = [record.getMessage() for record in caplog.records]
    assert [next(word for word in ("cancelled", "more than once", "SystemExit") if word in line) for line in told] == [
        "cancelled", "more than once", "more than once", "SystemExit",
    ]  # fmt: skip


def test_a_loop_that_a_controller_blocks_keeps_no_process_from_its_end(
    loop: EventLoop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "_CLEANUP_S", 0.1)
    blocks, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        blocks.set()
        goes_on.wait(60)

    notes: Notes = []
    _, returns, _, yields, *_, yields_async = forms(notes)
    begun = lifespan(returns, yields, yields_async, close_s=0.1)
    assert begun.try_start(loop) is None
    loop.run(lambda: asyncio.sleep(0))
    assert loop._loop is not None
    loop._loop.call_soon_threadsafe(block)
    blocks.wait()
    begun.close(loop)
    goes_on.set()
    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert told.endswith(
        "yields_async: TimeoutError: the event loop does not answer, something on it blocks, as it closed"
    )
    assert notes[-2:] == ["-yields", "-returns"], "the others are closed"


def test_a_worker_that_ends_waits_for_no_async_hook(loop: EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    waits, stopping = threading.Event(), Stopping()

    async def for_ever() -> None:
        waits.set()
        await asyncio.sleep(3600)

    def stop() -> None:
        waits.wait()
        stopping.begin()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(SystemExit):
        lifespan(for_ever, stopping=stopping).start_child(lambda: loop)
    assert caplog.records == []


def test_a_router_refuses_what_cannot_be_called_and_takes_each_once() -> None:
    class Database:
        def open(self) -> None:
            """Nothing."""

        def with_url(self, url: str, timeout_s: float = 1.0) -> None:
            """Nothing."""

    database, router, other = Database(), Router(), Router()
    assert router.on_worker_start(database.open) == database.open
    other.on_worker_start(database.open)
    router.include(other)
    assert [start.name for start in router.starts] == [
        "tests.unit.test_lifespan:test_a_router_refuses_what_cannot_be_called_and_takes_each_once.<locals>.Database.open"
    ]
    with pytest.raises(
        WorkerStartError, match=r"^tests/unit/test_lifespan\.py:\d+: .* it asks for url, and is given no"
    ):
        router.on_worker_start(database.with_url)
    with pytest.raises(WorkerStartError, match="it is not callable"):
        router.on_worker_start(None)  # type: ignore[type-var]


def test_a_word_of_any_length_is_said_once_and_cut() -> None:
    word = StartWord()
    assert (word.has_started, word.problem) == (False, None)
    assert word.failed("é" * 5000)
    assert not word.failed("é" * 5000)
    assert set(str(word.problem)) <= {"é", "\N{REPLACEMENT CHARACTER}"}
    word.started()
    assert (word.has_started, word.problem) == (True, None)
    assert word.failed("another")
    assert (word.has_started, word.problem) == (True, "another")
