"""Whether a worker can do its work, and what Prometheus is told of it."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.worker import state
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from routemq.metrics.histogram import Histogram
from routemq.metrics.timings import Timings
from routemq_tasks.upstream.public_names import has_hands, pool_children

_STALLED_S = 15.0
"""The consumer's loop turns once a second; in some pools a long task keeps it from that, which is no stall."""

_DEAD_S = 120.0
"""A loop that has stood still for so long does not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """How a worker is, at one moment.

    Attributes:
        alive: Its loop turns, or a task keeps it from turning.
        problem: Why it cannot do its work now, None when it can.
        running: Messages that run now.
        held: Messages that were taken and are not done.
        children: Of the prefork pool, alive.
    """

    alive: bool
    problem: str | None
    running: int
    held: int
    children: int

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""
        return self.problem is None

    def to_json(self) -> dict[str, Any]:
        """Return what `/readyz` and `/healthz` answer."""
        return {"ready": self.ready, **asdict(self)}


def worker_health(worker: Any) -> WorkerHealth:
    """Return how a worker is now; from any thread, and reads only.

    Args:
        worker: Celery's, with its pool and its consumer.
    """
    running = len(state.active_requests)
    stalled_s = time.monotonic() - getattr(worker.consumer, "turned_at", 0.0)
    # Solo and greenlets run a task in the consumer's own thread.
    busy = running > 0 and (worker.pool.is_green or isinstance(worker.pool, SoloPool))
    children = pool_children(worker.pool)
    return WorkerHealth(
        alive=busy or stalled_s < _DEAD_S,
        problem=_problem(worker, stalled_s=0.0 if busy else stalled_s, children=children),
        running=running,
        held=len(state.reserved_requests),
        children=len(children),
    )


def _problem(worker: Any, *, stalled_s: float, children: tuple[int, ...]) -> str | None:
    consumer = worker.consumer
    trouble: str | None = getattr(consumer, "trouble", None)
    if trouble is not None:
        return trouble
    connection = getattr(consumer, "connection", None)
    if connection is None or not connection.connected:
        return "not connected to redis"
    starting: str | None = worker.app.lifespan.word.problem
    if stalled_s > _STALLED_S:
        return f"its loop has not turned for {stalled_s:.0f} s"
    if isinstance(worker.pool, PreforkPool) and (not children or (starting is not None and not has_hands(worker.pool))):
        return starting or "no child of the pool is alive"
    silent_s = _longest_silence_s(connection)
    if silent_s is not None:
        return f"its lease on what it holds was not renewed for {silent_s:.0f} s"
    return None


def _longest_silence_s(connection: Any) -> float | None:
    """Return for how long a lease is overdue; None when all were renewed in time."""
    for channel in list(connection.transport.channels or ()):
        overdue_s = channel.lease.overdue_s if getattr(channel, "has_lease", False) else None
        if overdue_s is not None:
            return float(overdue_s)
    return None


class WorkerMetrics(Collector):
    """Of this worker alone, its children included, since it began; what the fleet did in all is counted in Redis."""

    def __init__(self, worker: Any, timings: Timings) -> None:
        self._worker, self._timings = worker, timings

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment."""
        health = worker_health(self._worker)
        yield GaugeMetricFamily("routemq_worker_ready", "1 while it can do its work.", value=int(health.ready))
        yield GaugeMetricFamily("routemq_worker_running", "Messages that run now.", value=health.running)
        yield GaugeMetricFamily("routemq_worker_held", "Messages that are taken and not done.", value=health.held)
        yield GaugeMetricFamily("routemq_worker_children", "Children of a prefork pool.", value=health.children)
        yield GaugeMetricFamily(
            "routemq_worker_concurrency",
            "Messages that it may run at once.",
            value=self._worker.pool.num_processes or 1,
        )
        routes = dict(sorted(self._timings.routes.items()))
        started = CounterMetricFamily("routemq_worker_runs", "Runs that ended, by route.", labels=["route"])
        for route, timings in routes.items():
            started.add_metric([route], sum(timings.run.counts))
        yield started
        yield _histograms(
            "routemq_run_seconds", "From the beginning of a run to its end.",
            {route: timings.run for route, timings in routes.items()},
        )  # fmt: skip
        yield _histograms(
            "routemq_wait_seconds", "From the receipt of a message to the beginning of its first run.",
            {route: timings.wait for route, timings in routes.items()},
        )  # fmt: skip
        yield _histograms(
            "routemq_latency_seconds", "From the receipt of a message to the end of the run that did it.",
            {route: timings.latency for route, timings in routes.items()},
        )  # fmt: skip


def _histograms(name: str, text: str, routes: Mapping[str, Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=["route"])
    for route, histogram in routes.items():
        family.add_metric([route], buckets=histogram.cumulative(), sum_value=histogram.sum_s)
    return family
