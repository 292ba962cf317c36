"""OpenTelemetry's SDK, set up for this process by its own variables. Imported only where traces are made."""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from routemq.tracing.trace_context import TraceContext

_PROPAGATOR = TraceContextTextMapPropagator()


def make_provider(service: str) -> TracerProvider:
    """Make the provider of this process and of those it forks, and let the application's own spans go there too."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = Resource.create({SERVICE_NAME: service})
    # At the end we flush by ourselves: the SDK would wait for a collector that is away.
    provider = TracerProvider(resource=resource, id_generator=ChosenIds(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ProcessExporter(_exporter())))
    trace.set_tracer_provider(provider)
    return provider


class ProcessExporter(SpanExporter):
    """Exports over connections of this very process: those that a child of the pool inherits are its parent's.

    The SDK starts its thread again in a child, and calls `export` from one thread at a time.
    """

    def __init__(self, make: Callable[[], SpanExporter]) -> None:
        self._make = make
        self._inner, self._pid = make(), os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        if self._pid != os.getpid():
            self._inner, self._pid = self._make(), os.getpid()
        return self._inner.export(spans)

    def shutdown(self) -> None:
        """Send nothing any more."""
        self._inner.shutdown()


class ChosenIds(RandomIdGenerator):
    """Lets the id of a new trace be drawn before its first span is made.

    Attributes:
        chosen: The id of the next new trace; None: a random one.
    """

    chosen: int | None = None

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        chosen, self.chosen = self.chosen, None
        return super().generate_trace_id() if chosen is None else chosen


class Roots:
    """Draws which messages begin a trace, at the price of a random number: a span that nobody keeps costs a hundred.

    Only where it is known how the sampler decides on a trace without a parent; else each message gets a span, and the
    sampler has its say there.
    """

    def __init__(self, provider: Any, environ: Mapping[str, str] = os.environ) -> None:
        ids = getattr(provider, "id_generator", None)
        rate = _rate(environ)
        self._ids = ids if isinstance(ids, ChosenIds) and rate is not None else None
        self._bound = TraceIdRatioBased.get_bound_for_rate(0.0 if rate is None else rate)

    def draw(self) -> bool:
        """Return whether the next message begins a trace, if it comes without one."""
        if self._ids is None:
            return True
        drawn = random.getrandbits(128)
        if drawn & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound or not drawn:
            return False
        self._ids.chosen = drawn
        return True


def _rate(environ: Mapping[str, str]) -> float | None:
    """Return the part of new traces that the SDK's sampler takes, by the trace's id; None when that is not known."""
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    match sampler.removeprefix("parentbased_"):
        case "always_on":
            return 1.0
        case "always_off":
            return 0.0
        case "traceidratio":
            try:
                rate = float(environ.get("OTEL_TRACES_SAMPLER_ARG", "") or 1.0)
            except ValueError:
                return 1.0  # as the SDK does, with a warning
            return rate if 0.0 <= rate <= 1.0 else None
        case _:
            return None


def context_of(found: TraceContext | None) -> Context | None:
    """Return a trace context as OpenTelemetry has it, None without one that it can read."""
    if found is None:
        return None
    context = _PROPAGATOR.extract(found.pairs(), Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def trace_context(span: SpanContext) -> TraceContext | None:
    """Return a span as messages carry it."""
    state = span.trace_state.to_header() if span.trace_state else None
    return TraceContext.of(f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}", state)


def unsampled() -> TraceContext:
    """Return a trace context that says that its message is not traced; one serves for all of a process."""
    ids = RandomIdGenerator()
    return TraceContext(f"00-{ids.generate_trace_id():032x}-{ids.generate_span_id():016x}-{TraceFlags.DEFAULT:02x}")


def _exporter() -> Callable[[], SpanExporter]:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    # The extra brings HTTP alone: gRPC is large, and collectors take both.
    transport = "grpc" if protocol == "grpc" else "http"
    module: Any = import_module(f"opentelemetry.exporter.otlp.proto.{transport}.trace_exporter")
    make: Callable[[], SpanExporter] = module.OTLPSpanExporter
    return make
