"""A worker's word on itself, in Redis, for those who watch the fleet."""

import os
import time
from importlib.metadata import version
from typing import Any

from celery.concurrency.prefork import TaskPool as PreforkPool

from routemq.metrics.presence import ProcessReport
from routemq.metrics.process_memory import memory_bytes
from routemq_tasks.upstream.public_names import pool_children
from routemq_tasks.worker_health import worker_health

_MEMORY_EVERY_S = 10.0
"""To add up the memory of a pool takes milliseconds of the kernel's time for each child."""


class WorkerPresence:
    """Makes the reports of one worker; called in a thread of its own, and only reads.

    Args:
        worker: Celery's, with its pool and its consumer.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._memory_bytes, self._memory_at = 0, float("-inf")

    def report(self) -> ProcessReport:
        """Return how the worker is now."""
        worker, settings = self._worker, self._worker.app.settings
        pids, health = pool_children(worker.pool), worker_health(worker)
        return ProcessReport(
            kind="worker",
            name=worker.hostname,
            version=version("routemq-celery"),
            group=settings.mqtt_group_name,
            queues=tuple(sorted({*worker.app.amqp.queues.consume_from, *worker.app.gate.resting})),
            concurrency=worker.pool.num_processes or 1,
            hands=len(pids) if isinstance(worker.pool, PreforkPool) else worker.pool.num_processes or 1,
            running=health.running,
            held=health.held,
            problem=health.problem,
            memory_bytes=self._memory(pids),
            pids=pids,
            details={
                "runs": worker.app.timings.run_totals(),
                "scaling": _scaling(worker),
                "most": worker.autoscaler.max_concurrency if worker.autoscale else None,
                "pool": type(worker.pool).__module__.rpartition(".")[2],
                "latency": {
                    route: timings.latency.counts for route, timings in list(worker.app.timings.routes.items())
                },
            },
        )

    def _memory(self, pids: tuple[int, ...]) -> int:
        if time.monotonic() - self._memory_at >= _MEMORY_EVERY_S:
            self._memory_at = time.monotonic()
            self._memory_bytes = memory_bytes((os.getpid(), *pids))
        return self._memory_bytes


def _scaling(worker: Any) -> str | None:
    """Return how the number of hands may change: by `auto`scale, by `hand`; None of a pool that has its size."""
    if worker.autoscale:
        return "auto"
    return "hand" if isinstance(worker.pool, PreforkPool) or hasattr(worker.pool, "grow") else None
