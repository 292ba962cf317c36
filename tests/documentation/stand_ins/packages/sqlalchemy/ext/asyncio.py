"""As much of SQLAlchemy as the pages use."""

from contextlib import AbstractAsyncContextManager
from typing import Self


class AsyncEngine:
    def connect(self) -> AbstractAsyncContextManager[object]:
        raise ConnectionError("there is no database")

    async def dispose(self) -> None: ...


class AsyncSession:
    def __init__(self, engine: AsyncEngine) -> None: ...
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...
    def begin(self) -> AbstractAsyncContextManager[object]:
        raise ConnectionError("there is no database")

    def add(self, row: object) -> None: ...


def create_async_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    return AsyncEngine()
