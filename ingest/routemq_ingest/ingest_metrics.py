"""What Prometheus is told of an ingest process."""

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from routemq_ingest.statistics import Health


class IngestMetrics(Collector):
    """Of this process alone, since it began; what the fleet received in all is counted in Redis.

    Args:
        dropped: What the MQTT broker has thrown away by its own count; None when it does not say.
    """

    def __init__(self, health: Callable[[], Health], dropped: Callable[[], int | None]) -> None:
        self._health, self._dropped = health, dropped

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment."""
        now = self._health()
        totals = now.statistics
        yield CounterMetricFamily("routemq_ingest_received", "Messages that are in Redis.", value=totals.received)
        yield CounterMetricFamily("routemq_ingest_batches", "Round trips to Redis.", value=totals.batches)
        yield CounterMetricFamily(
            "routemq_ingest_late_acks", "PUBACKs not sent, as their connection had ended.", value=totals.late_acks
        )
        yield CounterMetricFamily(
            "routemq_ingest_sessions_lost", "MQTT sessions that the broker had no more.", value=totals.sessions_lost
        )
        yield CounterMetricFamily("routemq_ingest_paused_seconds", "Time of all pauses.", value=totals.paused_s)
        yield GaugeMetricFamily("routemq_ingest_ready", "1 while messages are taken.", value=int(now.ready))
        yield GaugeMetricFamily(
            "routemq_ingest_paused", "1 while no messages are taken.", value=int(now.pause is not None)
        )
        yield GaugeMetricFamily("routemq_ingest_lease", "1 while it holds the non-shared routes.", value=int(now.holds))
        dropped = self._dropped()
        if dropped is not None:
            yield CounterMetricFamily(
                "routemq_broker_dropped", "Messages for any client that the MQTT broker threw away.", value=dropped
            )
