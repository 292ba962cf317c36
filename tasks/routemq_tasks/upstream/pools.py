"""The processes of Celery's prefork pool, which is billiard's to know."""

from typing import Any

from celery.concurrency.prefork import TaskPool as PreforkPool


def pool_children(pool: Any) -> tuple[int, ...]:
    """Return the process ids of a prefork pool's children that are alive; other pools have none."""
    if not isinstance(pool, PreforkPool) or pool._pool is None:  # noqa: SLF001
        return ()
    return tuple(child.pid for child in list(pool._pool._pool) if child.pid and child.exitcode is None)  # noqa: SLF001
