"""An application that has something to begin and to close in each process of a worker: one hook of each kind."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from routemq import Context, Middleware, Router
from tests.applications.execution import _PREFIX, _redis, note

router = Router()


class Database(Middleware):
    """Begins as it may, in the loop that its controllers run on; what it begins is its own."""

    loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> AsyncIterator[None]:
        async with asyncio.timeout(60):
            self.loop = asyncio.get_running_loop()
            # As a controller of the loop does with what blocks.
            await asyncio.to_thread(note, "begun", hook="database")
            yield
            await asyncio.to_thread(note, "closed", hook="database")

    async def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        assert self.loop is asyncio.get_running_loop()
        return await next_handler(context)


database = Database()
router.on_worker_start(database.open)


@router.on_worker_start
def cache() -> Iterator[None]:
    note("begun", hook="cache")
    try:
        yield
    finally:
        note("closed", hook="cache")


@router.on_worker_start
def service() -> Callable[[], Any]:
    if _redis.exists(f"{_PREFIX}hangs"):
        note("hangs")
        time.sleep(3600)
    if not _redis.exists(f"{_PREFIX}service"):
        raise ConnectionError("the service does not answer")
    note("begun", hook="service")

    async def close() -> None:
        await asyncio.to_thread(note, "closed", hook="service")

    return close


async def work(payload: Any) -> None:
    await asyncio.to_thread(note, "worked", payload=payload, process=os.getpid())


router.on("lifespan/work", work, middleware=[database])
