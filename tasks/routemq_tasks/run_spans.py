"""Spans of runs, and of what controllers publish. Imported only where traces are made."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from routemq.text import error_line, error_name, printable
from routemq.tracing.trace_context import PARENT, STATE, TraceContext
from routemq.tracing.tracer_provider import context_of, trace_context
from routemq_tasks.fate import Dead, Later
from routemq_tasks.held import Held
from routemq_tasks.outcomes import Settled

logger = logging.getLogger(__name__)

_LONGEST_TOPIC = 500
_MOST_COUNTED = 2**31


class Runs:
    """The spans of a process; whichever of its threads runs a message. No error of a trace is an error of its message.

    A retry and a replay are in the trace of the first run, beside it.

    Args:
        report_retries: Whether a run that is followed by another one is an error.
    """

    def __init__(self, provider: Any, *, report_retries: bool) -> None:
        self._tracer = provider.get_tracer("routemq.worker")
        self._report_retries = report_retries

    def begin(self, template: str, request: Any, arguments: Any, *, is_current: bool = True) -> "Run | None":
        """Begin the span of a run, and let it be the current one, unless it is one of many at once.

        Args:
            template: The route's topic.
            request: Celery's, with the headers of the message.
            arguments: The envelope, as it came.
        """
        try:
            wire = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], dict) else {}
            span = self._tracer.start_span(
                f"process {template}",
                _parent(getattr(request, PARENT, None), getattr(request, STATE, None), wire),
                SpanKind.CONSUMER,
                _told(request.task, request.delivery_info.get("routing_key"), request.id, request.retries, wire)
                | {"messaging.destination.template": template, "routemq.generation": request.routemq["generation"]},
            )
            return Run(self, span, is_current=is_current)
        except Exception as exc:  # noqa: BLE001
            logger.debug("no trace of a run: %s", error_line(exc))
            return None

    def record(self, held: Held, settled: Settled, error: BaseException, *, started_at: float | None = None) -> None:
        """Make the span of a message that had its end without a run of its own to tell of it, or with its process."""
        try:
            message, wire = held.message, {}
            parent = None
            if message is not None:
                wire = message.envelope.to_wire()
                trace_of = message.trace
                parent = _parent(trace_of and trace_of.parent, trace_of and trace_of.state, wire)
            span = self._tracer.start_span(
                f"process {held.route}",
                parent,
                SpanKind.CONSUMER,
                _told(held.route, held.queue, held.id, 0 if message is None else message.retries, wire),
                start_time=None if started_at is None else int(started_at * 1e9),
            )
            self.settle(span, settled, error)
            span.end()
        except Exception as exc:  # noqa: BLE001
            logger.debug("no trace of a message's end: %s", error_line(exc))

    def settle(self, span: Span, settled: Settled, error: BaseException) -> None:
        """Say in a span what became of its message. The error's text is in the log, and in the letter."""
        fate = settled.fate
        span.set_attribute("error.type", printable(error_name(error)))
        if isinstance(fate, Later):
            span.set_attributes({"routemq.outcome": "retried", "routemq.delay_s": fate.delay_s})
            if self._report_retries:
                span.set_status(Status(StatusCode.ERROR, "it is run again"))
        elif isinstance(fate, Dead):
            span.set_attributes({"routemq.outcome": "dead", "routemq.reason": fate.reason})
            span.set_status(Status(StatusCode.ERROR, f"dead letter, reason {fate.reason}"))
        else:
            span.set_attribute("routemq.outcome", "kept")

    def report_retry(self, settled: Settled) -> None:
        """Let a retry be an error of the span around ours too, as OpenTelemetry's own instrumentation makes one."""
        around = trace.get_current_span()
        if self._report_retries and isinstance(settled.fate, Later) and around.is_recording():
            around.set_status(Status(StatusCode.ERROR, "it is run again"))

    def publishing(self, topic: str, payload_bytes: int, qos: int) -> "Publishing":
        """Begin the span of a publish, within the one that is current where it is asked for."""
        return Publishing(
            self._tracer.start_span(
                "send",
                kind=SpanKind.PRODUCER,
                attributes={
                    "messaging.system": "mqtt",
                    "messaging.operation.name": "publish",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": printable(topic[:_LONGEST_TOPIC]),
                    "messaging.message.body.size": payload_bytes,
                    "messaging.mqtt.qos": qos,
                },
            )
        )


class Run:
    """The span of one run, current until it ends unless it is one of a batch; made, and ended, in one thread."""

    def __init__(self, runs: Runs, span: Span, *, is_current: bool) -> None:
        self._runs, self._span = runs, span
        self._token = attach(trace.set_span_in_context(span)) if is_current else None

    def carried(self, start: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        """Return what runs `start` in a task of the event loop, with this span as the current one."""

        async def run() -> Any:
            # The task has a context of its own, which ends with it.
            attach(trace.set_span_in_context(self._span))
            return await start()

        return run

    def done(self) -> None:
        """The run came to its end."""
        self._span.set_attribute("routemq.outcome", "done")
        self._end()

    def failed(self, settled: Settled, error: BaseException) -> None:
        """The run failed, and this became of its message."""
        self._runs.settle(self._span, settled, error)
        self._end()
        self._runs.report_retry(settled)

    def interrupted(self) -> None:
        """The worker is being stopped; the message goes back to its queue."""
        self._span.set_attribute("routemq.outcome", "given back")
        self._end()

    def _end(self) -> None:
        if self._token is not None:
            detach(self._token)
        self._span.end()


class Publishing:
    """The span of one publish; it may end in any thread, and ends once."""

    def __init__(self, span: Span) -> None:
        self._open: list[Span] = [span]
        self.trace = trace_context(span.get_span_context())

    def settled(self, problem: str | None) -> None:
        """It is confirmed, or has failed."""
        try:
            span = self._open.pop()
        except IndexError:
            return
        if problem is not None:
            span.set_status(Status(StatusCode.ERROR, "not confirmed"))
        span.end()


def _parent(parent: object, state: object, wire: dict[str, Any]) -> Context | None:
    """Return the span to be under: the current one, of an instrumentation, else the message's; None for neither."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    # Of an ingest process that makes no traces it has only what the publisher said.
    found = TraceContext.of(parent, state) or TraceContext.in_properties(_pairs(wire.get("user_properties")))
    return context_of(found)


def _pairs(properties: Any) -> list[tuple[str, str]]:
    return [(pair[0], pair[1]) for pair in properties or () if len(pair) == 2]


def _told(route: str, queue: object, message_id: object, retries: object, wire: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": printable(str(queue)),
        "routemq.route": printable(route),
        # What cannot be run may say anything; a number that is too large would take the other spans along.
        "routemq.attempt": min(max(retries, 0), _MOST_COUNTED) + 1 if isinstance(retries, int) else 1,
    }
    if isinstance(message_id, str):
        attributes["messaging.message.id"] = printable(message_id)
    if isinstance(wire.get("topic"), str):
        attributes["routemq.topic"] = printable(wire["topic"][:_LONGEST_TOPIC])
    return attributes
