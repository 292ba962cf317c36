"""What an orchestrator and Prometheus may ask an ingest process, over HTTP."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from routemq_ingest.statistics import Health

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 5.0
_NO_DESCRIPTOR_S = 0.2


class HealthServer:
    """Serves `/healthz`, `/readyz` and `/metrics`.

    `/healthz`, also as `/health`: 200 while the loop turns, 503 when a restart would help. A pause, or a server that is
    away, is no reason for one. `/readyz`: 200 while messages are taken, by what both servers have answered lately; else
    503. Both say the same about it.
    """

    def __init__(self, port: int, health: Callable[[], Health]) -> None:
        registry = CollectorRegistry()
        registry.register(_Metrics(health))

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_TIMEOUT_S

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path in ("/health", "/healthz", "/readyz"):
                    now = health()
                    good = now.ready if path == "/readyz" else now.alive
                    self._answer(200 if good else 503, "application/json", json.dumps(now.to_json()).encode())
                else:
                    self._answer(404, "text/plain", b"there are /healthz, /readyz and /metrics\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
                logger.debug(format, *args)

        # A probe comes from another host; there is nothing but numbers to be read.
        self._server = _Server(("", port), Handler)
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


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        # HTTPServer would ask a name server for this host's name, which nobody needs.
        TCPServer.server_bind(self)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            # Without a free file descriptor the connection stays, and would be tried again at once, and again.
            time.sleep(_NO_DESCRIPTOR_S)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a probe was not answered address=%s: %r", client_address, sys.exception())


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
        yield GaugeMetricFamily("routemq_ingest_ready", "1 while messages are taken.", value=int(now.ready))
        yield GaugeMetricFamily(
            "routemq_ingest_paused", "1 while no messages are taken.", value=int(now.pause is not None)
        )
        yield GaugeMetricFamily("routemq_ingest_lease", "1 while it holds the non-shared routes.", value=int(now.holds))
