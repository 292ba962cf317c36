"""The prefork pool, which reads the results of all that its children run before it ends."""

from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool


class RouteAsynPool(AsynPool):
    """Celery's pool on the event loop."""

    def flush(self) -> None:
        """Forget what no child has, at a shutdown or when the connection to Redis is lost.

        Celery forgets every job whose start it has not heard of, also one that lies in a child's pipe or runs there at
        this moment. Nobody would read its result: the message would run twice, and the child would wait for half a
        minute to be heard before it ends.
        """
        in_hand: dict[Any, Any] = {
            number: job
            for number, job in self._cache.items()
            if not job._accepted and job._write_to is not None and job._write_to._is_alive()  # noqa: SLF001  billiard's
        }
        super().flush()
        self._cache.update(in_hand)
        # Else the next job would be put behind one that may take long.
        self._busy_workers.update(job._write_to.inqW_fd for job in in_hand.values())  # noqa: SLF001  billiard's


class RouteTaskPool(TaskPool):
    """Celery's prefork pool around ours."""

    Pool = RouteAsynPool
