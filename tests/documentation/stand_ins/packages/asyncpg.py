"""As much of asyncpg as the pages use."""

from contextlib import AbstractAsyncContextManager


class Pool: ...


def create_pool(dsn: str, *, max_size: int) -> AbstractAsyncContextManager[Pool]:
    raise ConnectionError(f"{dsn} has no database for {max_size} connections")
