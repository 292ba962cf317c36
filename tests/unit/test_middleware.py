"""The chain around a controller: order, sync beside async, and what ends early."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

import pytest

from routemq import Context, Message, Middleware
from routemq.envelope import Envelope
from routemq.errors import NotRunError
from routemq.middleware import Chain, Next, build_chain
from tests.processes import PATIENCE_S
from tests.unit.test_controllers import CLIENT


def context() -> Context:
    return Context(message=Message(id="m", route="r", envelope=Envelope(topic="t", payload=b"")), client=CLIENT)


class Sync(Middleware):
    """Writes down where it stands."""

    def __init__(self, name: str) -> None:
        self.name = name

    def handle(self, context: Context, next_handler: Next) -> Any:
        context.state.setdefault("steps", []).append(f"{self.name} before")
        try:
            return next_handler(context)
        finally:
            context.state["steps"].append(f"{self.name} after")


class Async(Sync):
    """The same on the event loop."""

    async def handle(self, context: Context, next_handler: Next) -> Any:
        context.state.setdefault("steps", []).append(f"{self.name} before")
        try:
            return await next_handler(context)
        finally:
            context.state["steps"].append(f"{self.name} after")


def sync_controller(context: Context) -> str:
    context.state.setdefault("steps", []).append("controller")
    return "done"


async def async_controller(context: Context) -> str:
    await asyncio.sleep(0)
    return sync_controller(context)


def run(chain: Chain, given: Context) -> Any:
    async def on_loop() -> Any:
        return await chain.run(given)

    return asyncio.run(on_loop()) if chain.is_async else chain.run(given)


@pytest.mark.parametrize(
    "kinds", [(), (Sync,), (Async,), (Sync, Async), (Async, Sync), (Sync, Sync), (Sync, Async, Sync)]
)
@pytest.mark.parametrize("controller", [sync_controller, async_controller])
def test_first_middleware_is_outermost_whatever_is_async(
    kinds: tuple[type[Sync], ...], controller: Callable[[Context], Any]
) -> None:
    links = [kind(str(number)) for number, kind in enumerate(kinds)]
    chain = build_chain(controller, links, is_async=controller is async_controller)
    assert chain.is_async == (controller is async_controller or Async in kinds)
    given = context()
    assert run(chain, given) == "done"
    names = [link.name for link in links]
    before, after = [f"{name} before" for name in names], [f"{name} after" for name in reversed(names)]
    assert given.state["steps"] == [*before, "controller", *after]


@pytest.mark.parametrize("kinds", [(Sync, Sync), (Sync, Async), (Async, Sync), (Async, Async)])
def test_error_of_a_controller_passes_through_every_link(kinds: tuple[type[Sync], ...]) -> None:
    def failing(context: Context) -> None:
        raise ZeroDivisionError("in the controller")

    chain = build_chain(failing, [kind(str(number)) for number, kind in enumerate(kinds)], is_async=False)
    given = context()
    with pytest.raises(ZeroDivisionError, match="in the controller"):
        run(chain, given)
    assert given.state["steps"] == ["0 before", "1 before", "1 after", "0 after"]


def test_middleware_may_end_a_message_or_change_it() -> None:
    class Stop(Middleware):
        def handle(self, context: Context, next_handler: Next) -> Any:
            return "stopped"

    class Other(Middleware):
        def handle(self, given: Context, next_handler: Next) -> Any:
            other = context()
            other.state["steps"] = given.state["steps"] = ["other"]
            return next_handler(other)

    given = context()
    assert run(build_chain(sync_controller, [Stop(), Sync("x")], is_async=False), given) == "stopped"
    assert given.state == {}
    assert run(build_chain(sync_controller, [Other(), Middleware()], is_async=False), given) == "done"
    assert given.state["steps"] == ["other", "controller"]


def test_sync_chain_runs_in_the_calling_thread_and_sync_links_never_on_the_loop() -> None:
    threads: list[str] = []

    class Where(Middleware):
        def handle(self, context: Context, next_handler: Next) -> Any:
            threads.append(threading.current_thread().name)
            return next_handler(context)

    here = threading.current_thread().name
    run(build_chain(sync_controller, [Where()], is_async=False), context())
    assert threads == [here]
    run(build_chain(async_controller, [Where(), Where()], is_async=True), context())
    assert here not in threads[1:]
    assert len(set(threads[1:])) == 2


async def forgets_to_await(context: Context) -> Any:
    return async_controller(context)


async def awaits_later(_context: Context) -> Any:
    return asyncio.get_running_loop().create_future()


def yields(context: Context) -> Iterator[str]:
    yield sync_controller(context)


async def yields_on_the_loop(context: Context) -> AsyncIterator[str]:
    yield sync_controller(context)


NOT_RUN: dict[str, tuple[Callable[[Context], Any], bool, str]] = {
    "async def that looks plain": (async_controller, False, "'async_controller' was returned .* `async def`"),
    "partial": (functools.partial(async_controller), False, "'async_controller' was returned without awaiting it"),
    "generator": (yields, False, "'yields' was returned, .* without `yield`"),
    "async generator": (yields_on_the_loop, False, "'yields_on_the_loop' was returned, "),
    "map": (lambda c: map(sync_controller, [c]), False, "'map' was returned, "),
    "filter": (lambda c: filter(sync_controller, [c]), False, "'filter' was returned, "),
    "context manager": (contextlib.contextmanager(yields), False, ".* without `yield` and @contextmanager"),
    "async context manager": (contextlib.asynccontextmanager(yields_on_the_loop), False, "and @contextmanager"),
    "beside": (lambda _: Future(), False, "'Future' was returned, .* `result"),
    "function": (lambda _: sync_controller, False, "'sync_controller' was returned, .* call it"),
    "method": (lambda c: c.message.fail, False, "was returned, .* call it"),
    "partial of a partial": (lambda c: functools.partial(sync_controller, c), False, "'partial' .* call it"),
    "no await": (forgets_to_await, True, "'async_controller' was returned without awaiting it, .* Mend: await it"),
    "future": (awaits_later, True, "'Future' was returned without awaiting it, .* Mend: await it"),
    "generator of an async def": (yields, True, "'yields' was returned, "),
}  # fmt: skip


@pytest.mark.parametrize("links", [[], [Sync("x")], [Async("x")]])
@pytest.mark.parametrize("kind", NOT_RUN)
def test_what_a_controller_leaves_to_be_run_is_not_taken_for_done(kind: str, links: list[Middleware]) -> None:
    controller, is_async, told = NOT_RUN[kind]
    given = context()
    with pytest.raises(NotRunError, match=told):
        run(build_chain(controller, links, is_async=is_async), given)
    assert "controller" not in given.state.get("steps", [])


class Unfit:
    """Has no truth, no text, no equal and no pickle."""

    def _fail(self, *_args: object) -> NoReturn:
        raise RuntimeError("no words")

    __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __len__ = __iter__ = __reduce__ = _fail  # type: ignore[assignment]


@pytest.mark.parametrize("links", [[], [Sync("x")], [Async("x")], [Sync("x"), Async("y")]])
def test_any_other_result_is_let_be(links: list[Middleware]) -> None:
    result = Unfit()
    assert run(build_chain(lambda _context: result, links, is_async=False), context()) is result


def test_plain_result_of_a_controller_taken_for_async_is_fine() -> None:
    assert run(build_chain(sync_controller, [Async("x")], is_async=True), context()) == "done"


class Forgets(Middleware):
    """Returns the coroutine."""

    async def handle(self, context: Context, next_handler: Next) -> Any:
        return next_handler(context)


class Drops(Middleware):
    """Does not even return it."""

    async def handle(self, context: Context, next_handler: Next) -> Any:
        next_handler(context)


class Plain(Middleware):
    """Returns another coroutine."""

    def handle(self, context: Context, next_handler: Next) -> Any:
        return async_controller(context)


class Fixture(Middleware):
    """Is written as fixtures of pytest are."""

    def handle(self, context: Context, next_handler: Next) -> Any:
        yield next_handler(context)


class AsyncFixture(Middleware):
    """The same on the event loop."""

    async def handle(self, context: Context, next_handler: Next) -> Any:
        yield await next_handler(context)


@pytest.mark.parametrize("link", [Forgets, Drops, Plain, Fixture, AsyncFixture])
def test_what_a_middleware_leaves_to_be_run_is_not_taken_for_done(link: type[Middleware]) -> None:
    for controller, is_async in ((sync_controller, False), (async_controller, True)):
        for others in ([], [Sync("x")], [Async("x")]):
            for links in ([link(), *others], [*others, link()]):
                given = context()
                with pytest.raises(NotRunError):
                    run(build_chain(controller, links, is_async=is_async), given)
                assert "controller" not in given.state.get("steps", [])


def test_cancellation_reaches_an_async_controller_behind_a_sync_link() -> None:
    reached, cancelled = threading.Event(), threading.Event()

    async def endless(context: Context) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def scenario() -> None:
        task = asyncio.create_task(build_chain(endless, [Sync("x"), Sync("y")], is_async=True).run(context()))
        await asyncio.to_thread(reached.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert cancelled.wait(PATIENCE_S)


def test_many_messages_in_deep_sync_links_do_not_wait_for_each_other() -> None:
    chain = build_chain(async_controller, [Sync("x"), Sync("y")], is_async=True)

    async def scenario() -> list[Any]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(100))
        return await asyncio.gather(*(chain.run(context()) for _ in range(40)))

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == ["done"] * 40
