"""One hook of `on_worker_start`: begun in whatever form it has, and what closes it again."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import Any, cast

from routemq.errors import WorkerStartError
from routemq.worker_start import WorkerStart, asked_for
from routemq_tasks.event_loop import EventLoop
from routemq_tasks.gate import Stopping

Closer = Callable[[float], Any]
"""Takes the seconds that it may take, which only async hooks can be held to."""

_LOOK_S = 0.2
_LOOP_S = 0.5
"""So much longer for a loop that controllers keep busy; one that is blocked would keep the process for ever."""


def begin(hook: WorkerStart, loop: EventLoop, stopping: Stopping) -> Closer | None:
    """Run a hook to its `yield`, or its end, and return what closes it; a sync one here, an async one on the loop.

    Raises:
        BaseException: Whatever it raised.
        WorkerStartError: It returned something that nobody could close.
    """
    made = hook.function()
    if inspect.isgenerator(made):
        return (lambda _limit_s: _finish(hook, made)) if _goes_on(made) else None
    if inspect.isasyncgen(made) or inspect.isawaitable(made):
        life = _Life(hook, made, stopping)
        has_more = loop.run(life.start)
        if not has_more:
            return None
        return lambda limit_s: loop.run(partial(life.close, limit_s), patience_s=limit_s + _LOOP_S)
    closer = _closer(hook, made)
    return None if closer is None else lambda limit_s: _run_closer(closer, loop, limit_s)


class _Life:
    """An async hook, in one task from its start to its end, as cancel scopes and task groups need it."""

    def __init__(self, hook: WorkerStart, made: Any, stopping: Stopping) -> None:
        self._hook, self._made, self._stopping = hook, made, stopping
        self._task: asyncio.Task[BaseException | None] | None = None

    async def start(self) -> bool:
        """Return when it has begun, whether there is something to close."""
        self._begun, self._closing = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._live())
        begun = asyncio.create_task(self._begun.wait())
        try:
            while not (self._task.done() or begun.done()):
                await asyncio.wait({self._task, begun}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if self._stopping.begun:
                    # What it waits for may never come.
                    self._task.cancel()
        except BaseException:
            self._task.cancel()
            raise
        finally:
            begun.cancel()
        return self._outcome() if self._task.done() else True

    async def close(self, limit_s: float) -> None:
        self._closing.set()
        assert self._task is not None  # noqa: S101  it was started
        await asyncio.wait({self._task}, timeout=limit_s)
        if not self._task.done():
            self._task.cancel()
            raise TimeoutError(f"not closed after {limit_s:.1f} s; it is cancelled")
        self._outcome()

    def _outcome(self) -> bool:
        assert self._task is not None  # noqa: S101  it has ended
        if self._task.cancelled():
            raise asyncio.CancelledError
        error = self._task.result()
        if error is not None:
            raise error
        return False

    async def _live(self) -> BaseException | None:
        try:
            if inspect.isasyncgen(self._made):
                await self._live_generator(self._made)
            else:
                closer = _closer(self._hook, await self._made)
                if closer is not None:
                    self._begun.set()
                    await self._closing.wait()
                    left = closer()
                    if inspect.isawaitable(left):
                        await left
        except asyncio.CancelledError:
            raise
        # Not raised: `SystemExit` from a task would end the loop itself.
        except BaseException as exc:  # noqa: BLE001
            return exc
        return None

    async def _live_generator(self, made: AsyncGenerator[Any, Any]) -> None:
        try:
            await anext(made)
        except StopAsyncIteration:
            return
        self._begun.set()
        try:
            await self._closing.wait()
            await anext(made)
        except StopAsyncIteration:
            return
        finally:
            await made.aclose()
        raise _yields_again(self._hook)


def _goes_on(made: Generator[Any, Any, Any]) -> bool:
    try:
        next(made)
    except StopIteration:
        return False
    return True


def _finish(hook: WorkerStart, made: Generator[Any, Any, Any]) -> None:
    if _goes_on(made):
        made.close()
        raise _yields_again(hook)


def _run_closer(closer: Callable[[], Any], loop: EventLoop, limit_s: float) -> None:
    left = closer()
    if inspect.isawaitable(left):
        loop.run(lambda: left, timeout_s=limit_s, patience_s=limit_s + _LOOP_S)


def _closer(hook: WorkerStart, returned: Any) -> Callable[[], Any] | None:
    # What contextlib makes of a generator can be called, with a function: what is before its `yield` would never run.
    if returned is None or (callable(returned) and not asked_for(returned)):
        return cast("Callable[[], Any] | None", returned)
    raise WorkerStartError(
        source=hook.source,
        hook=hook.name,
        problem=f"it returned {type(returned).__name__}, which nobody could close",
        mend="return None or a function without arguments that closes, or `yield`, without @contextmanager, and close "
        "after that",
    )


def _yields_again(hook: WorkerStart) -> WorkerStartError:
    return WorkerStartError(
        source=hook.source, hook=hook.name, problem="it yields more than once", mend="yield once, and close after that"
    )
