"""What an orchestrator and Prometheus may ask a process, over HTTP."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from routemq.errors import ConfigurationError

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 5.0
_NO_DESCRIPTOR_S = 0.2


class ProcessHealth(Protocol):
    """How a process is, at one moment; each kind of process knows more."""

    @property
    def alive(self) -> bool:
        """Whether a restart would help no more than waiting."""

    @property
    def ready(self) -> bool:
        """Whether it can do its work."""

    def to_json(self) -> dict[str, Any]:
        """Return what is told of it, with the reason."""


class HealthServer:
    """Serves `/healthz`, `/readyz` and `/metrics`, from a thread of its own: a process that is frozen answers nothing.

    `/healthz`, also as `/health`: 200 while the process is alive, 503 when a restart would help. `/readyz`: 200 while
    it can do its work; else 503. Both say the same about it.

    Args:
        health: Called for each request, in that thread.
        metrics: What `/metrics` tells.
    """

    def __init__(self, port: int, health: Callable[[], ProcessHealth], metrics: Collector) -> None:
        registry = CollectorRegistry()
        registry.register(metrics)

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
        self._server = _ProbeServer(("", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @classmethod
    def on(cls, port: int, health: Callable[[], ProcessHealth], metrics: Collector, *, variable: str) -> "HealthServer":
        """Listen on the port that a variable says.

        Raises:
            ConfigurationError: It is not free.
        """
        try:
            return cls(port, health, metrics)
        except OSError as exc:
            problem = f"the port cannot be had, {exc.strerror or exc}"
            raise ConfigurationError(variable=variable, value=port, allowed=problem) from exc

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _ProbeServer(ThreadingHTTPServer):
    # Beyond what waits here, the system lets a connection try again after a second, when a probe has given up.
    request_queue_size = 128

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
