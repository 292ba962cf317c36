"""What an orchestrator and Prometheus may ask an ingest process, over HTTP."""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from routemq_ingest.statistics import Health

logger = logging.getLogger(__name__)


class HealthServer:
    """Serves `/health` (200 while the process works, 503 when a restart would help) and `/metrics`.

    A pause, or an MQTT broker that is away, is told but is no reason for a restart.
    """

    def __init__(self, port: int, health: Callable[[], Health]) -> None:
        registry = CollectorRegistry()
        registry.register(_Metrics(health))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif self.path == "/health":
                    now = health()
                    self._answer(200 if now.alive else 503, "application/json", json.dumps(now.to_json()).encode())
                else:
                    self._answer(404, "text/plain", b"there are /health and /metrics\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
                logger.debug(format, *args)

        # A probe comes from another host; there is nothing but numbers to be read.
        self._server = ThreadingHTTPServer(("", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Metrics(Collector):
    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        now = self._health()
        totals = now.statistics
        yield CounterMetricFamily("routemq_ingest_received", "Messages that are in Redis.", value=totals.received)
        yield CounterMetricFamily("routemq_ingest_batches", "Round trips to Redis.", value=totals.batches)
        yield CounterMetricFamily(
            "routemq_ingest_late_acks", "PUBACKs not sent, as their connection had ended.", value=totals.late_acks
        )
        yield CounterMetricFamily("routemq_ingest_paused_seconds", "Time of all pauses.", value=totals.paused_s)
        yield GaugeMetricFamily("routemq_ingest_ready", "1 while every route is subscribed.", value=int(now.ready))
        yield GaugeMetricFamily(
            "routemq_ingest_paused", "1 while no messages are taken.", value=int(now.pause is not None)
        )
        yield GaugeMetricFamily("routemq_ingest_lease", "1 while it holds the non-shared routes.", value=int(now.holds))
