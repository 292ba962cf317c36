"""The wire contract: what ingest puts on a queue and a worker takes off it.

A queued message is a Celery message, protocol 2, in the JSON form of kombu's Redis transport, so that any Celery worker
and Flower can read it. Its only argument is the envelope. What Celery has no place for is in the header `routemq`.

Longer than other files: it is written and read here alone, and what one half writes the other reads.
"""

import base64
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from routemq.errors import EnvelopeError
from routemq.mark import MEMBER, Mark
from routemq.tracing.trace_context import PARENT, STATE, TraceContext

VERSION = 1
"""Version of the envelope; a worker refuses one that it does not know."""

_MOST_SHOWN = 1000
"""Characters of a payload in each event, log line and page; who wants all of it has the message."""

_LONG_BYTES = 4096
"""A body of so many bytes travels as text, if little of it is to be escaped: base64 is longer, and is read slower."""
_REQUIRED: dict[str, Any] = {"topic": str, "qos": int, "retain": bool, "received_at": (int, float)}
_ORIGIN = f"routemq@{socket.gethostname()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the MQTT broker delivered.

    Attributes:
        topic: Topic name; of one that is not UTF-8, with replacement characters.
        payload: Application message, byte for byte; never parsed before a controller asks for it.
        qos: QoS it was delivered with.
        retain: Whether it was a retained message.
        received_at: When ingest received it, Unix seconds.
        content_type: MQTT 5 property; likewise the next three.
        response_topic: Where the publisher wants an answer.
        correlation_data: What the publisher wants in the answer.
        user_properties: Pairs of name and value, in order; names may repeat.
        topic_bytes: Topic name byte for byte, when it is not UTF-8; no controller ever sees such a message.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    received_at: float = 0.0
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: tuple[tuple[str, str], ...] = ()
    topic_bytes: bytes | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels as the task's only argument."""
        wire: dict[str, Any] = {"v": VERSION, "topic": self.topic}
        text = text_of(self.payload)
        if text is None:
            wire["payload_base64"] = base64.b64encode(self.payload).decode()
        else:
            wire["payload"] = text
        wire["qos"] = self.qos
        wire["retain"] = self.retain
        wire["received_at"] = self.received_at
        if self.content_type is not None:
            wire["content_type"] = self.content_type
        if self.response_topic is not None:
            wire["response_topic"] = self.response_topic
        if self.correlation_data is not None:
            wire["correlation_data_base64"] = base64.b64encode(self.correlation_data).decode()
        if self.user_properties:
            wire["user_properties"] = self.user_properties
        if self.topic_bytes is not None:
            wire["topic_base64"] = base64.b64encode(self.topic_bytes).decode()
        return wire

    @classmethod
    def from_wire(cls, wire: object) -> "Envelope":
        """Read the task's argument.

        Raises:
            EnvelopeError: It is no envelope, or one of another version.
        """
        if not isinstance(wire, dict):
            raise _malformed("the argument is not an object", wire)
        if wire.get("v") != VERSION:
            raise _malformed(f"envelope version {wire.get('v')!r}; this release reads {VERSION}", wire)
        get = wire.get
        topic, qos, retain, received_at = get("topic"), get("qos"), get("retain"), get("received_at")
        if not (
            isinstance(topic, str)
            and isinstance(qos, int)
            and isinstance(retain, bool)
            and isinstance(received_at, (int, float))
        ):
            wrong = next(name for name, kind in _REQUIRED.items() if not isinstance(get(name), kind))
            raise _malformed(f"field {wrong!r} is missing or of another type", wire)
        try:
            if "payload_base64" in wire:
                payload = base64.b64decode(wire["payload_base64"], validate=True)
            else:
                payload = wire["payload"].encode()
            return cls(
                topic=topic,
                payload=payload,
                qos=qos,
                retain=retain,
                received_at=received_at,
                content_type=get("content_type"),
                response_topic=get("response_topic"),
                correlation_data=_optional_base64(get("correlation_data_base64")),
                user_properties=_pairs(wire["user_properties"]) if "user_properties" in wire else (),
                topic_bytes=_optional_base64(get("topic_base64")),
            )
        except (KeyError, AttributeError, TypeError, ValueError) as exc:
            raise _malformed(f"field {exc}" if isinstance(exc, KeyError) else str(exc), wire) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """One failed run, as it is remembered in the message.

    Attributes:
        at: Unix seconds.
        error: Exception class and message, shortened.
        worker: Celery's name of the worker.
    """

    at: float
    error: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastReplay:
    """One replay from the dead letters, as it is remembered in the message.

    Attributes:
        at: Unix seconds.
        by: Who asked for it.
        error: What the message had died of, shortened.
    """

    at: float
    by: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMessage:
    """A message on a queue.

    Attributes:
        route: Name of the route, which is the Celery task's name.
        queue: Name of the queue.
        envelope: What was received.
        id: Celery task id; the same through every retry and replay.
        generation: How often it was replayed from the dead letters.
        failures: The failed runs of this generation, the oldest first; at most the last 20.
        retries: Failed runs of this generation in all.
        replays: The replays that led to this generation, the oldest first; at most the last 10.
        strikes: How many processes it has ended; travels in its mark.
        show_payload: Whether Celery's `argsrepr`, which reaches logs, events and Flower, shows the payload.
        trace: The span that it comes from; in the headers `traceparent` and `tracestate`.
    """

    route: str
    queue: str
    envelope: Envelope
    id: str = field(default_factory=lambda: str(uuid.UUID(bytes=os.urandom(16), version=4)))
    generation: int = 0
    failures: tuple[FailedAttempt, ...] = ()
    retries: int = 0
    replays: tuple[PastReplay, ...] = ()
    strikes: int = 0
    show_payload: bool = False
    trace: TraceContext | None = None

    @property
    def delivery_tag(self) -> str:
        """Kombu's key of the message while a worker holds it: another one for each run, so a late ack hits nothing."""
        return f"{self.id}.{self.generation}.{self.retries}"

    def failed(self, failure: FailedAttempt) -> "TaskMessage":
        """Return the message that is run next after a failed run."""
        return replace(self, retries=self.retries + 1, failures=(*self.failures, failure)[-20:])

    def replayed(self, replay: PastReplay | None = None) -> "TaskMessage":
        """Return the message that an operator's replay puts back: the same id, attempts from the start."""
        replays = self.replays if replay is None else (*self.replays, replay)[-10:]
        return replace(self, generation=self.generation + 1, retries=0, failures=(), replays=replays, strikes=0)

    def edited(self, payload: bytes) -> "TaskMessage":
        """Return the message with another payload."""
        return replace(self, envelope=replace(self.envelope, payload=payload))

    def encode(self) -> bytes:
        """Return the list item that goes to Redis."""
        argument = self.envelope.to_wire()
        body = orjson.dumps([[argument], {}, {}])
        text, argsrepr = body_text(body), self._argsrepr(argument)
        if text is None:
            return self.wrap(body=base64.b64encode(body).decode(), argsrepr=argsrepr)
        return self.wrap(body=orjson.Fragment(text), argsrepr=argsrepr, is_text=True)

    def wrap(self, *, body: str | orjson.Fragment, argsrepr: str, is_text: bool = False) -> bytes:
        """Return the list item around a body that is encoded already.

        What Celery and kombu do without is left out: each byte is copied and hashed at every step.

        Args:
            is_text: It is no base64.
        """
        own: dict[str, Any] = {
            "generation": self.generation,
            "failures": [[failure.at, failure.error, failure.worker] for failure in self.failures],
        }
        if self.replays:
            own["replays"] = [[replay.at, replay.by, replay.error] for replay in self.replays]
        item = orjson.dumps(
            {
                "body": body,
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": {
                    "task": self.route,
                    "id": self.id,
                    "retries": self.retries,
                    "argsrepr": argsrepr,
                    "origin": _ORIGIN,
                    "ignore_result": True,
                    "routemq": own,
                    **({} if self.trace is None else self.trace.pairs()),
                },
                "properties": {
                    "delivery_info": {"exchange": "", "routing_key": self.queue},
                    **({} if is_text else {"body_encoding": "base64"}),
                    "delivery_tag": self.delivery_tag,
                },
            }
        )
        return Mark(strikes=self.strikes).on(item)

    def _argsrepr(self, argument: Mapping[str, Any]) -> str:
        shown = f"{self.envelope.topic!r}, {len(self.envelope.payload)} bytes"
        if self.show_payload:
            # Before it is written out: a character may become six.
            payload = argument.get("payload", self.envelope.payload)
            shown += f": {payload[:_MOST_SHOWN]!r}{'…' if len(payload) > _MOST_SHOWN else ''}"
        return f"({shown})"

    @classmethod
    def decode(cls, data: bytes) -> "TaskMessage":
        """Read a list item.

        Raises:
            EnvelopeError: It is not JSON, no Celery message, or its argument is no envelope.
        """
        try:
            message = orjson.loads(data)
            headers, properties = message["headers"], message["properties"]
            body = message["body"]
            if properties.get("body_encoding") == "base64":
                body = base64.b64decode(body, validate=True)
            (argument,), _, _ = orjson.loads(body)
            if not (isinstance(headers["id"], str) and isinstance(headers["task"], str)):
                raise EnvelopeError(problem="the headers id and task are no text", data=data)  # noqa: TRY301  as below
            return cls.from_request(
                headers=headers,
                queue=properties["delivery_info"]["routing_key"],
                envelope=Envelope.from_wire(argument),
                strikes=Mark.of(message.get(MEMBER)).strikes,
            )
        except EnvelopeError as exc:
            raise EnvelopeError(problem=exc.problem, data=data) from exc
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as exc:
            raise EnvelopeError(problem=f"{type(exc).__name__}: {exc}", data=data) from exc

    @classmethod
    def from_request(
        cls, *, headers: Mapping[str, Any], queue: str, envelope: Envelope, strikes: int = 0
    ) -> "TaskMessage":
        """Make the message again from what a worker has of it: its headers, its queue and its argument.

        Headers of a message that another Celery client sent may lack the header `routemq`.

        Raises:
            KeyError, TypeError, ValueError: A header that Celery itself requires is missing or of another type.
        """
        own = headers.get("routemq") or {}
        return cls(
            route=headers["task"],
            queue=queue,
            envelope=envelope,
            id=headers["id"],
            generation=int(own.get("generation", 0)),
            failures=tuple(
                FailedAttempt(at=at, error=error, worker=worker) for at, error, worker in own.get("failures", ())
            ),
            retries=int(headers.get("retries") or 0),
            replays=tuple(PastReplay(at=at, by=by, error=error) for at, by, error in own.get("replays", ())),
            strikes=strikes,
            trace=TraceContext.of(headers.get(PARENT), headers.get(STATE)),
        )


def text_of(payload: bytes) -> str | None:
    """Return the text as which a payload travels; None when it goes as base64.

    That is what is not UTF-8, and what JSON would make more than twice as long: control characters, six bytes each.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return text if is_brief(orjson.dumps(text), payload) else None


def body_text(body: bytes) -> bytes | None:
    """Return the JSON string as which a body travels; None when it goes as base64."""
    beginning = body[:_LONG_BYTES]
    if len(body) < _LONG_BYTES or 8 * (beginning.count(b'"') + beginning.count(b"\\")) > _LONG_BYTES:
        return None
    text = orjson.dumps(body.decode())
    return text if 3 * len(text) <= 4 * len(body) else None


def body_of(text: str) -> bytes:
    """Return the body, or its beginning, from the text as which it travels, or the beginning of that."""
    # No base64 begins so, and no body otherwise.
    return text.encode() if text.startswith("[") else base64.b64decode(text[: len(text) // 4 * 4], validate=True)


def is_brief(text: bytes, payload: bytes) -> bool:
    """Whether a payload may travel as this JSON string."""
    return len(text) <= 2 * len(payload) + 2


def unacked_record(message: bytes, queue: str) -> bytes:
    """Return kombu's record of a delivered message, `[message, exchange, routing key]`, around the bytes."""
    return b"[" + message + b',"",' + orjson.dumps(queue) + b"]"


def _optional_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _pairs(wire: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in wire)


def _malformed(problem: str, wire: object) -> EnvelopeError:
    return EnvelopeError(problem=problem, data=repr(wire).encode())
