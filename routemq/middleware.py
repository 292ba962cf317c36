"""Code around controllers: one chain per route, made once, run for every message."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from routemq.message import Client, Message

Next = Callable[["Context"], Any]
"""The rest of the chain. An async middleware awaits it; a sync middleware calls it and has the result."""


@dataclass(slots=True, kw_only=True)
class Context:
    """What middleware sees, and may change, on the way to the controller.

    Attributes:
        message: The message.
        client: Publishes to the MQTT broker.
        state: For middleware to leave something for the next one.
    """

    message: Message
    client: Client
    state: dict[str, Any] = field(default_factory=dict)


class Middleware:
    """Runs around every controller of the routes that name it.

    Override `handle`, as `def` or `async def`. Not calling `next_handler` ends the message there, as done;
    raising fails it as if the controller had raised.
    """

    def handle(self, context: Context, next_handler: Next) -> Any:
        """Do something before and after `next_handler(context)`."""
        return next_handler(context)


@dataclass(frozen=True, slots=True)
class Chain:
    """A controller with its middleware.

    Attributes:
        is_async: Whether `run` returns an awaitable, to be run on the event loop.
        run: Takes the context, returns the controller's result or an awaitable of it.
    """

    is_async: bool
    run: Callable[[Context], Any]


def build_chain(controller: Callable[[Context], Any], middleware: Sequence[Middleware], *, is_async: bool) -> Chain:
    """Put middleware around a controller, the first one outermost.

    A chain with nothing async in it runs in the task's own thread. Otherwise it runs on the event loop, and each sync
    link of it in a thread, so that it may block; a sync middleware's `next_handler` then goes back to the loop.
    """
    handlers = [link.handle for link in middleware]
    kinds = [inspect.iscoroutinefunction(handle) for handle in handlers]
    if not is_async and not any(kinds):
        run = controller
        for handle in reversed(handlers):
            run = _sync_link(handle, run)
        return Chain(is_async=False, run=run)
    step: Callable[[Context], Awaitable[Any]] = controller if is_async else _in_thread(controller)
    for handle, handle_is_async in zip(reversed(handlers), reversed(kinds), strict=True):
        step = _async_link(handle, step) if handle_is_async else _sync_link_on_loop(handle, step)
    return Chain(is_async=True, run=step)


def _sync_link(handle: Callable[[Context, Next], Any], following: Callable[[Context], Any]) -> Callable[[Context], Any]:
    return lambda context: handle(context, following)


def _async_link(
    handle: Callable[[Context, Next], Any], following: Callable[[Context], Awaitable[Any]]
) -> Callable[[Context], Awaitable[Any]]:
    async def link(context: Context) -> Any:
        return await handle(context, following)

    return link


def _in_thread(controller: Callable[[Context], Any]) -> Callable[[Context], Awaitable[Any]]:
    async def link(context: Context) -> Any:
        return await asyncio.to_thread(controller, context)

    return link


def _sync_link_on_loop(
    handle: Callable[[Context, Next], Any], following: Callable[[Context], Awaitable[Any]]
) -> Callable[[Context], Awaitable[Any]]:
    async def link(context: Context) -> Any:
        loop = asyncio.get_running_loop()

        async def rest(inner: Context) -> Any:
            return await following(inner)

        def next_handler(inner: Context) -> Any:
            return asyncio.run_coroutine_threadsafe(rest(inner), loop).result()

        return await asyncio.to_thread(handle, context, next_handler)

    return link
