"""What an orchestrator and Prometheus may ask a process, over HTTP."""

import contextlib
import json
import logging
import socket
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
from routemq.pauses import Reminders
from routemq.text import error_line

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 5.0
_MOST_UNHEARD = 64
_MOST_THREADS = 128
_NO_DESCRIPTOR_S = 0.2
_SAY_AGAIN_S = 60.0


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
    it can do its work; else 503. Both say the same about it. It listens on IPv6 as well, where the system has it.

    Args:
        health: Called for each request, in that thread.
        metrics: What `/metrics` tells.
    """

    def __init__(self, port: int, health: Callable[[], ProcessHealth], metrics: Collector) -> None:
        registry = CollectorRegistry()
        registry.register(metrics)
        reminders = Reminders(_SAY_AGAIN_S)

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_TIMEOUT_S

            def do_GET(self) -> None:
                server.is_heard(self.connection)
                try:
                    answer = self._found()
                # What a process knows of itself it may fail to say; who asks must not be left without an answer.
                except BaseException as exc:  # noqa: BLE001
                    if reminders.speak(told := error_line(exc)):
                        logger.error("a probe of %s cannot be answered: %s", self.path.partition("?")[0], told)
                    answer = 500, "text/plain", b"this cannot be told; the log says why\n"
                self._answer(*answer)

            def _found(self) -> tuple[int, str, bytes]:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
                if path in ("/health", "/healthz", "/readyz"):
                    now = health()
                    good = now.ready if path == "/readyz" else now.alive
                    return 200 if good else 503, "application/json", json.dumps(now.to_json()).encode()
                return 404, "text/plain", b"there are /healthz, /readyz and /metrics\n"

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815  http.server's name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name for it
                logger.debug(format, *args)

        # A probe comes from another host; there is nothing but numbers to be read.
        self._server = server = _ProbeServer(("", port), Handler)
        self._thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)

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
    """A thread for each probe, of which there is a bounded number.

    Who has not said within five seconds what he wants is broken off, whatever he sent meanwhile, and earlier when many
    are like that: the next one may be a probe. All that is noted of connections is under the lock; one that is still in
    `_unheard` is not closed yet.
    """

    # Beyond what waits here, the system lets a connection try again after a second, when a probe has given up.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock, self._busy = threading.Lock(), 0
        self._unheard: dict[socket.socket, float] = {}
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer would ask a name server for this host's name, which nobody needs.
        TCPServer.server_bind(self)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            # Without a free file descriptor the connection stays, and would be tried again at once, and again.
            time.sleep(_NO_DESCRIPTOR_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._busy += 1
            self._unheard[request] = time.monotonic() + _REQUEST_TIMEOUT_S
            self._break_off(len(self._unheard) - _MOST_UNHEARD)
            has_room = self._busy <= _MOST_THREADS
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def service_actions(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._break_off(sum(until < now for until in self._unheard.values()))

    def is_heard(self, request: socket.socket) -> None:
        """Give the answer its time, which is that of the fleet's size."""
        with self._lock:
            self._unheard.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._busy -= 1
            self._unheard.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a probe was not answered address=%s: %r", client_address, sys.exception())

    def _break_off(self, count: int) -> None:
        for request in list(self._unheard)[: max(0, count)]:
            del self._unheard[request]
            # Its thread reads the end, and closes it.
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
