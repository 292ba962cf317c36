"""The numbers of the whole fleet for Prometheus, read from Redis; exported by one process."""

import time
from collections.abc import Callable, Iterable, Mapping

import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from routemq.dead_letters.letter import REASONS
from routemq.metrics.fleet import FleetReading, QueueReading
from routemq.metrics.totals import TOTALS


class FleetMetrics(Collector):
    """Totals by route, what waits by queue, dead letters, processes and Redis.

    Args:
        read: Reads the fleet; called for each scrape.
        wanted: Queue → the concurrency that its routes ask for.
    """

    def __init__(self, read: Callable[[], FleetReading], *, wanted: Mapping[str, int]) -> None:
        self._read, self._wanted = read, wanted
        self.answered_at = float("-inf")

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment; one alone, when Redis cannot be read."""
        try:
            fleet = self._read()
        except redis.RedisError:
            yield GaugeMetricFamily("routemq_redis_up", "1 while Redis answers.", value=0)
            return
        self.answered_at = time.monotonic()
        yield GaugeMetricFamily("routemq_redis_up", "1 while Redis answers.", value=1)
        yield from _totals(fleet)
        yield from _queues(fleet, self._wanted)
        yield from _letters(fleet)
        yield from _processes(fleet)
        yield GaugeMetricFamily(
            "routemq_keys_blocked", "Keys under our names that are another program's.", value=fleet.blocked
        )
        share = fleet.server.memory_share
        yield GaugeMetricFamily("routemq_redis_memory_bytes", "What Redis uses.", value=fleet.server.memory_bytes)
        if share is not None:
            yield GaugeMetricFamily("routemq_redis_memory_ratio", "How much of its limit is used.", value=share)


def _totals(fleet: FleetReading) -> Iterable[Metric]:
    for name, text in TOTALS.items():
        family = CounterMetricFamily(f"routemq_{name}", text, labels=["route"])
        for route, totals in sorted(fleet.totals.items()):
            family.add_metric([route], getattr(totals, name))
        yield family
    dead = CounterMetricFamily("routemq_dead", "Messages that died, by reason.", labels=["route", "reason"])
    for route, totals in sorted(fleet.totals.items()):
        # From the beginning, so that the first death of a reason is seen as an increase.
        told = dict.fromkeys(REASONS, 0) | dict(totals.dead_by_reason)
        # What died before reasons were counted.
        rest = totals.dead - sum(told.values())
        for reason, count in sorted({**told, **({"unknown": rest} if rest > 0 else {})}.items()):
            dead.add_metric([route, reason], count)
    yield dead


def _queues(fleet: FleetReading, wanted: Mapping[str, int]) -> Iterable[Metric]:
    gauges = {
        "waiting": "Messages that no worker has taken.",
        "delayed": "Messages whose time has not come, such as retries.",
        "held": "Messages in the hands of workers.",
        "unfinished": "Messages that are not done, to scale workers by: waiting, delayed and held.",
        "resting": "1 while all of its routes are paused.",
        "workers": "Live workers that consume it.",
        "concurrency": "Messages that they run at once.",
        "concurrency_wanted": "Sum of worker_count of its routes.",
        "oldest_seconds": "Age of the message that is next; none of an empty queue.",
    }
    families = {
        name: GaugeMetricFamily(f"routemq_queue_{name}", text, labels=["queue"]) for name, text in gauges.items()
    }
    for queue, reading in sorted(fleet.queues.items()):
        values = {
            "waiting": reading.waiting, "delayed": reading.delayed, "held": reading.held,
            "unfinished": _unfinished(reading, rests=queue in fleet.resting),
            "resting": int(queue in fleet.resting), "workers": len(reading.workers), "concurrency": reading.concurrency,
            "concurrency_wanted": wanted.get(queue, 0),
        }  # fmt: skip
        for name, value in values.items():
            families[name].add_metric([queue], value)
        if reading.oldest_at is not None:
            families["oldest_seconds"].add_metric([queue], max(0.0, fleet.at - reading.oldest_at))
    yield from families.values()


def _unfinished(reading: QueueReading, *, rests: bool) -> int:
    # Of paused routes nothing is run, however much waits; one worker is there for what else may be on their queue.
    return max(reading.held, min(1, reading.queued)) if rests else reading.queued


def _letters(fleet: FleetReading) -> Iterable[Metric]:
    count = GaugeMetricFamily("routemq_dead_letters", "Dead letters that wait for a decision.", labels=["route"])
    oldest = GaugeMetricFamily("routemq_dead_letters_oldest_seconds", "Age of the oldest of them.", labels=["route"])
    full = GaugeMetricFamily("routemq_route_full", "1 while it is not consumed for them.", labels=["route"])
    paused = GaugeMetricFamily("routemq_paused", "1 while it is taken in and not run.", labels=["route"])
    for route, reading in sorted(fleet.dead.items()):
        count.add_metric([route], reading.count)
        full.add_metric([route], int(route in fleet.full_routes))
        paused.add_metric([route], int(route in fleet.paused))
        if reading.oldest_at is not None:
            oldest.add_metric([route], max(0.0, fleet.at - reading.oldest_at))
    yield from (count, oldest, full, paused)


def _processes(fleet: FleetReading) -> Iterable[Metric]:
    there = GaugeMetricFamily("routemq_processes", "Processes that have reported themselves lately.", labels=["kind"])
    ill = GaugeMetricFamily("routemq_processes_with_problems", "Those that cannot do their work.", labels=["kind"])
    memory = GaugeMetricFamily("routemq_process_memory_bytes", "With its children.", labels=["kind", "name"])
    for kind in ("ingest", "worker"):
        live = fleet.processes.live(kind)
        there.add_metric([kind], len(live))
        ill.add_metric([kind], sum(report.problem is not None for report in live))
        for report in live:
            memory.add_metric([kind, report.name], report.memory_bytes)
    holder = GaugeMetricFamily("routemq_lease_holder", "1 for who holds the non-shared routes.", labels=["name"])
    if fleet.lease_holder is not None:
        holder.add_metric([fleet.lease_holder], 1)
    yield from (there, ill, memory, holder)
