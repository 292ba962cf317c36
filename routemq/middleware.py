"""Code around controllers: one chain per route, made once, run for every message."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncContextDecorator, ContextDecorator
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MappingProxyType, MethodType
from typing import Any

from routemq.errors import NotRunError, RouteError
from routemq.message import Client, Message

Next = Callable[["Context"], Any]
"""The rest of the chain. An async middleware awaits it; a sync middleware calls it and has the result."""

BatchNext = Callable[[Sequence["Context"]], Any]
"""The rest of the chain of a route with `batch=`."""

_MENDS: dict[tuple[type, ...], str] = {
    (Generator, AsyncGenerator, map, filter): "do its work without `yield`, and iterate over it",
    (
        ContextDecorator,
        AsyncContextDecorator,
    ): "do its work without `yield` and @contextmanager, or enter it with `with`",
    (Future,): "wait for its `result()`: it may fail, and its process may end before",
    (FunctionType, MethodType, partial): "call it",
}
"""What is still to be run, and how the controller would do that."""

_TO_BE_RUN = (Awaitable, *(kind for kinds in _MENDS for kind in kinds))


@dataclass(slots=True, kw_only=True)
class Context:
    """What middleware sees, and may change, on the way to the controller.

    Attributes:
        message: The message.
        client: Publishes to the MQTT broker.
        state: For middleware to leave something for the next one.
        provided: What the controller may ask for by name.
    """

    message: Message
    client: Client
    state: dict[str, Any] = field(default_factory=dict)
    provided: dict[str, Any] = field(default_factory=dict)

    def provide(self, name: str, value: Any) -> None:
        """Give the controller a value, for its parameter of this name; see `Middleware.provides`."""
        self.provided[name] = value


class Middleware:
    """Runs around every controller of the routes that name it.

    Override `handle`, as `def` or `async def`. Not calling `next_handler` ends the message there, as done;
    raising fails it as if the controller had raised.

    Attributes:
        provides: Names and types of what it gives to controllers by `context.provide`, before it calls
            `next_handler`; a route whose controller asks for another name, or another type, cannot be made.
    """

    provides: Mapping[str, Any] = MappingProxyType({})

    def handle(self, context: Context, next_handler: Next) -> Any:
        """Do something before and after `next_handler(context)`."""
        return next_handler(context)

    def handle_batch(self, contexts: Sequence[Context], next_handler: BatchNext) -> Any:
        """Do something before and after `next_handler(contexts)`, on routes with `batch=`.

        The contexts that it leaves out end there, as done. A middleware that overrides `handle` alone is once around
        each message: its routes' messages go through it, and to the controller, one by one.
        """
        return next_handler(contexts)


@dataclass(frozen=True, slots=True)
class Chain:
    """A controller with its middleware.

    Attributes:
        is_async: Whether `run` returns an awaitable, to be run on the event loop.
        run: Takes the context, of a route with `batch=` a list of them; returns the controller's result or an
            awaitable of it.
    """

    is_async: bool
    run: Callable[[Any], Any]


def links_of(given: object, *, source: str, route: str) -> tuple[Middleware, ...]:
    """Return what stands in `middleware=`.

    Raises:
        RouteError: It is no sequence, or something in it is no middleware.
    """
    # False as of `middleware=settings.debug and [Timing()]`.
    if given is None or given is False:
        return ()
    if isinstance(given, Middleware) or not isinstance(given, Iterable):
        mend = "write a list, middleware=[…], also of one"
        raise RouteError(source=source, route=route, problem=f"middleware={given!r}", mend=mend)
    links: list[Middleware] = []
    for link in given:
        if not isinstance(link, Middleware):
            mend = "pass an instance of a subclass of routemq.Middleware"
            raise RouteError(source=source, route=route, problem=f"middleware {link!r} is no Middleware", mend=mend)
        links.append(link)
    return tuple(links)


def takes_batches(link: Middleware) -> bool:
    """Return whether a middleware can be around many messages at once."""
    kind = type(link)
    return kind.handle_batch is not Middleware.handle_batch or kind.handle is Middleware.handle


def build_chain(
    controller: Callable[[Any], Any], middleware: Sequence[Middleware], *, is_async: bool, of_batches: bool = False
) -> Chain:
    """Put middleware around a controller, the first one outermost.

    A chain with nothing async in it runs in the task's own thread. Otherwise it runs on the event loop, and each sync
    link of it in a thread, so that it may block; a sync middleware's `next_handler` then goes back to the loop. A sync
    link holds its thread while the inner ones run: the loop's default executor must have a thread for every sync link
    of every message that runs at once.
    """
    handlers = [_batch_handler(link) if of_batches else link.handle for link in middleware]
    kinds = [inspect.iscoroutinefunction(handle) for handle in handlers]
    if not is_async and not any(kinds):
        run = _finished(controller)
        for handle in reversed(handlers):
            run = _finished(_sync_link(handle, run))
        return Chain(is_async=False, run=run)
    step = _awaited(controller) if is_async else _in_thread(_finished(controller))
    for handle, handle_is_async in zip(reversed(handlers), reversed(kinds), strict=True):
        step = _async_link(handle, step) if handle_is_async else _sync_link_on_loop(handle, step)
    return Chain(is_async=True, run=step)


def _batch_handler(link: Middleware) -> Callable[[Any, Any], Any]:
    if takes_batches(link):
        return link.handle_batch
    handle = link.handle

    def of_one(contexts: Sequence[Context], next_handler: BatchNext) -> Any:
        (context,) = contexts
        return handle(context, lambda inner: next_handler([inner]))

    async def awaited(contexts: Sequence[Context], next_handler: BatchNext) -> Any:
        return await of_one(contexts, next_handler)

    return awaited if inspect.iscoroutinefunction(handle) else of_one


def _checked(result: Any, *, is_async: bool = False) -> Any:
    """Refuse a result that is still to be run: nobody would run it, and the message would count as done."""
    # Not `isinstance`, which asks the result itself.
    if result is None or not issubclass(type(result), _TO_BE_RUN):
        return result
    name = getattr(result, "__qualname__", None) or type(result).__name__
    if inspect.iscoroutine(result):
        result.close()
    if issubclass(type(result), Awaitable):
        mend = "await it" if is_async else "make the function that returns it `async def`, and await it"
        raise NotRunError(what=f"{name!r} was returned without awaiting it", mend=mend)
    raise NotRunError(
        what=f"{name!r} was returned",
        mend=next(mend for kinds, mend in _MENDS.items() if issubclass(type(result), kinds)),
    )


def _finished(step: Callable[[Context], Any]) -> Callable[[Context], Any]:
    return lambda context: _checked(step(context))


def _awaited(controller: Callable[[Context], Any]) -> Callable[[Context], Coroutine[Any, Any, Any]]:
    """Await what there is to await: a decorator may have made a plain function of an `async def`."""

    async def run(context: Context) -> Any:
        result = controller(context)
        return _checked(await result if inspect.isawaitable(result) else result, is_async=True)

    return run


def _sync_link(handle: Callable[[Context, Next], Any], following: Callable[[Context], Any]) -> Callable[[Context], Any]:
    return lambda context: handle(context, following)


def _async_link(
    handle: Callable[[Context, Next], Any], following: Callable[[Context], Coroutine[Any, Any, Any]]
) -> Callable[[Context], Coroutine[Any, Any, Any]]:
    async def link(context: Context) -> Any:
        called: list[Coroutine[Any, Any, Any]] = []

        def next_handler(inner: Context) -> Coroutine[Any, Any, Any]:
            called.append(following(inner))
            return called[-1]

        result = await handle(context, next_handler)
        # Who does not call it ends the message here; who calls it means it to be run.
        for rest in called:
            if inspect.getcoroutinestate(rest) == inspect.CORO_CREATED:
                rest.close()
                raise NotRunError(
                    what="a middleware called `next_handler` without awaiting it", mend="`await next_handler(context)`"
                )
        return _checked(result, is_async=True)

    return link


def _in_thread(controller: Callable[[Context], Any]) -> Callable[[Context], Coroutine[Any, Any, Any]]:
    async def link(context: Context) -> Any:
        return await asyncio.to_thread(controller, context)

    return link


def _sync_link_on_loop(
    handle: Callable[[Context, Next], Any], following: Callable[[Context], Coroutine[Any, Any, Any]]
) -> Callable[[Context], Coroutine[Any, Any, Any]]:
    async def link(context: Context) -> Any:
        loop = asyncio.get_running_loop()
        running: list[Future[Any]] = []

        def next_handler(inner: Context) -> Any:
            future = asyncio.run_coroutine_threadsafe(following(inner), loop)
            running.append(future)
            return future.result()

        try:
            return await asyncio.to_thread(_finished(lambda outer: handle(outer, next_handler)), context)
        except asyncio.CancelledError:
            # The thread cannot be cancelled, but what it waits for can: it gets the cancellation from there.
            for future in running:
                future.cancel()
            raise

    return link
