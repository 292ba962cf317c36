"""Where traces and error reports are sent to, for tests: real HTTP servers that read what they get."""

import contextlib
import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.processes import wait_until
from tests.servers import HOST

KINDS = {
    trace_pb2.Span.SPAN_KIND_CONSUMER: "consumer",
    trace_pb2.Span.SPAN_KIND_PRODUCER: "producer",
    trace_pb2.Span.SPAN_KIND_INTERNAL: "internal",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span that a collector got."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    is_error: bool
    attributes: dict[str, Any]
    text: str


@dataclass(slots=True)
class TraceCollector:
    """Takes OTLP over HTTP, as Jaeger and the OpenTelemetry collector do."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables that send traces here; no span is sent before a process flushes."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000", **more}

    def named(self, beginning: str) -> list[Span]:
        return [span for span in list(self.spans) if span.name.startswith(beginning)]

    def wait_for(self, beginning: str, count: int = 1) -> list[Span]:
        def found() -> list[Span] | None:
            spans = self.named(beginning)
            return spans if len(spans) >= count else None

        return wait_until(found, message=f"{count} spans {beginning!r} are collected")

    def take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            self.spans += [_span(service, span) for scope in resource.scope_spans for span in scope.spans]


@dataclass(slots=True)
class SentryServer:
    """Takes Sentry's envelopes."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.url.replace("http://", "http://public@") + "/7"

    def take(self, path: str, body: bytes) -> None:
        assert path == "/api/7/envelope/"
        _, _, rest = body.partition(b"\n")
        while rest.strip():
            head, _, rest = rest.lstrip(b"\n").partition(b"\n")
            item = json.loads(head)
            length = item.get("length", rest.find(b"\n") % (len(rest) + 1))
            content, rest = rest[:length], rest[length:]
            event = json.loads(content) if item["type"] == "event" else None
            # A child that is forked while its parent's events wait sends them too; Sentry knows them by their ids.
            if event is not None and event["event_id"] not in {known["event_id"] for known in self.events}:
                self.events.append(event)


@contextlib.contextmanager
def trace_collector() -> Iterator[TraceCollector]:
    collector = TraceCollector()
    with _serving(collector.take) as collector.url:
        yield collector


@contextlib.contextmanager
def sentry_server() -> Iterator[SentryServer]:
    server = SentryServer()
    with _serving(server.take) as server.url:
        yield server


@contextlib.contextmanager
def _serving(take: Callable[[str, bytes], None]) -> Iterator[str]:
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            match self.headers.get("Content-Encoding"):
                case "gzip":
                    body = gzip.decompress(body)
                case "deflate":
                    body = zlib.decompress(body)
            with one_at_a_time:
                take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The test's own output is enough."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()


def _span(service: str, span: trace_pb2.Span) -> Span:
    return Span(
        service=service,
        name=span.name,
        kind=KINDS.get(span.kind, str(span.kind)),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        text=str(span),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
