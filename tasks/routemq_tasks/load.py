"""What the queues of one worker need: read from Redis every second, for the scaling of its pool."""

import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis
from celery.worker import state

from routemq.metrics.presence import ProcessReport, read_processes
from routemq.queues import Keys, lists_of
from routemq.text import error_line
from routemq_tasks.scaling import QueueLoad, wanted_hands

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_RATES_OVER_S = 5.0
_RUNS_OVER_S = 60.0
_COUNTED = ("received", "replayed", "retried")
"""Totals of a route that bring a message to its queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    at: float
    arrived: Mapping[str, int]
    runs: Mapping[str, tuple[int, float]]


class LoadMeter:
    """Measures; in a thread of its own.

    Args:
        worker: Celery's, with its pool and its consumer; only read.
    """

    def __init__(self, client: "redis.Redis", keys: Keys, worker: Any) -> None:
        self._client, self._keys, self._worker = client, keys, worker
        self._samples: deque[_Sample] = deque()

    def measure(self) -> dict[str, QueueLoad]:
        """Return the load of each queue that this worker consumes now.

        Raises:
            redis.RedisError: Redis cannot be read.
        """
        app = self._worker.app
        queues = sorted(app.amqp.queues.consume_from)
        routes = {route.name: route.queue for route in app.router.routes if route.queue in queues}
        processes = read_processes(self._client, self._keys)
        waiting, arrived = self._read(queues, routes, now=processes.at)
        others = [report for report in processes.live("worker") if report.name != self._worker.hostname]
        sample = _Sample(at=time.monotonic(), arrived=arrived, runs=self._runs(routes, others))
        self._samples.append(sample)
        while len(self._samples) > 1 and sample.at - self._samples[0].at > _RUNS_OVER_S:
            self._samples.popleft()
        rates, run_s, unstarted = self._rates(queues), self._run_s(queues, routes), self._unstarted()
        return {
            queue: QueueLoad(
                arrivals_per_s=rates[queue],
                run_s=run_s.get(queue, 0.0),
                backlog=round(waiting[queue] + unstarted[queue] + sum(_unstarted_part(each, queue) for each in others)),
                fixed=sum(each.hands / len(each.queues) for each in others if queue in each.queues and not _most(each)),
                most_of_others=sum(_most(each) for each in others if queue in each.queues),
            )
            for queue in queues
        }

    def _read(self, queues: list[str], routes: Mapping[str, str], *, now: float) -> tuple[dict[str, int], Counter[str]]:
        pipe = self._client.pipeline(transaction=False)
        for queue in queues:
            for name in lists_of(queue):
                pipe.llen(self._keys.queue(name))
                pipe.zcount(self._keys.delayed(name), "-inf", now)
        for route in routes:
            pipe.hmget(self._keys.counters(route), list(_COUNTED))
        # Another program's key must not hide what the others need.
        answers = pipe.execute(raise_on_error=False)
        size = 2 * len(lists_of(""))
        waiting = {
            queue: sum(each for each in answers[place * size : (place + 1) * size] if isinstance(each, int))
            for place, queue in enumerate(queues)
        }
        arrived: Counter[str] = Counter()
        for queue, totals in zip(routes.values(), answers[len(queues) * size :], strict=True):
            if isinstance(totals, list):
                arrived[queue] += sum(int(total) for total in cast("list[bytes]", totals) if total)
        return waiting, arrived

    def _runs(self, routes: Iterable[str], others: Iterable[ProcessReport]) -> dict[str, tuple[int, float]]:
        """Return how many runs of each route ended, and what they took, on all workers."""
        found = self._worker.app.timings.run_totals()
        for report in others:
            for name, (count, sum_s) in report.details.get("runs", {}).items():
                before_count, before_sum_s = found.get(name, (0, 0.0))
                found[name] = before_count + count, before_sum_s + sum_s
        return {name: found[name] for name in routes if name in found}

    def _rates(self, queues: Iterable[str]) -> dict[str, float]:
        now = self._samples[-1]
        before = next((each for each in self._samples if now.at - each.at <= _RATES_OVER_S), now)
        elapsed_s = now.at - before.at
        return {
            queue: max(0, now.arrived.get(queue, 0) - before.arrived.get(queue, 0)) / elapsed_s if elapsed_s else 0.0
            for queue in queues
        }

    def _run_s(self, queues: Iterable[str], routes: Mapping[str, str]) -> dict[str, float]:
        """Return the mean time of a run by queue; what runs longer than that counts already for what it has taken."""
        ended, took_s = Counter[str](), defaultdict[str, float](float)
        for name, queue in routes.items():
            count, sum_s = self._samples[-1].runs.get(name, (0, 0.0))
            before_count, before_sum_s = self._samples[0].runs.get(name, (0, 0.0))
            # None ended of late, or a worker began again, or ended.
            if count <= before_count or sum_s < before_sum_s:
                before_count, before_sum_s = 0, 0.0
            ended[queue] += count - before_count
            took_s[queue] += sum_s - before_sum_s
        mean = {queue: took_s[queue] / ended[queue] if ended[queue] else 0.0 for queue in queues}
        now = time.monotonic()
        for request in _copy(state.active_requests):
            queue, since = _queue_of(request), getattr(request, "accepted_at", None)
            if queue in mean and since is not None and now - since > mean[queue]:
                ended[queue] += 1
                took_s[queue] += now - since
        return {queue: took_s[queue] / ended[queue] for queue in mean if ended[queue]}

    @staticmethod
    def _unstarted() -> Counter[str]:
        running = set(map(id, _copy(state.active_requests)))
        return Counter(_queue_of(each) for each in _copy(state.reserved_requests) if id(each) not in running)


class LoadWatch(threading.Thread):
    """Measures every second, and keeps what is wanted by it; outlives a restart of Redis.

    Attributes:
        wanted: Hands that this worker should have; its least number before anything was measured.
    """

    def __init__(self, meter: LoadMeter, worker: Any) -> None:
        super().__init__(name="routemq-load", daemon=True)
        self._meter, self._worker = meter, worker
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            scaler = self._worker.autoscaler
            try:
                loads = self._meter.measure()
                scaler.wanted = wanted_hands(loads.values(), least=scaler.min_concurrency, most=scaler.max_concurrency)
            # Not to know what is needed now is no reason to end, whatever it was.
            except Exception as exc:  # noqa: BLE001
                logger.debug("the load is not known: %s", error_line(exc))

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()


def _most(report: ProcessReport) -> int:
    most = report.details.get("most")
    return most if isinstance(most, int) else 0


def _unstarted_part(report: ProcessReport, queue: str) -> float:
    return max(0, report.held - report.running) / len(report.queues) if queue in report.queues else 0.0


def _queue_of(request: Any) -> str:
    return str((getattr(request, "delivery_info", None) or {}).get("routing_key", ""))


def _copy(requests: Any) -> list[Any]:
    for _ in range(10):
        try:
            return list(requests)
        except RuntimeError:
            # Another thread changed the set meanwhile.
            continue
    return []
