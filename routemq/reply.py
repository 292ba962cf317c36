"""Answers to requests: what a controller returns goes to the request's response topic (MQTT 5, 4.10)."""

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import pydantic
from pydantic_core import to_jsonable_python

from routemq.envelope import Envelope
from routemq.errors import BindingError, InvalidMessageError, ReplyError, TopicTemplateError
from routemq.interruptions import is_interruption
from routemq.message import Message
from routemq.payload_codecs import RouteCodec, encoded
from routemq.payloads import summary
from routemq.publishable import json_bytes
from routemq.signatures import signature_of
from routemq.text import error_line, printable
from routemq.topics import TopicTemplate, topic_problem

LONGEST_EXPIRY_S = 2**32 - 1
"""MQTT 5, 3.3.2.3.3: four bytes."""

_SHOWN = 100
_ALIKE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a route answers requests, with `reply=Reply(…)`; `reply=True` is one with these defaults.

    Attributes:
        qos: QoS of the answer.
        expiry_s: After so many seconds the MQTT broker need not deliver it any more; None for never.
        within: Topic template that the response topic must be of, such as `replies/{device_id}/{rest:path}`; parameters
            that the route's topic has, too, must be the request's own. None allows every topic that is no route's.

    Raises:
        ValueError: A value cannot be used.
    """

    qos: int = 1
    expiry_s: float | None = None
    within: str | None = None
    _within: TopicTemplate | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.qos not in (0, 1, 2):
            raise ValueError(f"qos={self.qos!r}; it is 0, 1 or 2")
        if problem := expiry_problem(self.expiry_s):
            raise ValueError(problem)
        try:
            template = None if self.within is None else TopicTemplate(self.within)
        except TopicTemplateError as exc:
            raise ValueError(f"within={self.within!r}: {exc.problem}") from exc
        object.__setattr__(self, "_within", template)

    def misspelt(self, parameters: Collection[str]) -> tuple[str, str] | None:
        """Return a parameter of `within` which a topic with these does not have, and the one that must be meant.

        It would be any device's, where its author wants the request's own.
        """
        inside = self._within.parameters if self._within is not None else {}
        left = [name for name in parameters if name not in inside]
        near = ((name, get_close_matches(name, left, 1, _ALIKE)) for name in inside if name not in parameters)
        return next(((name, meant[0]) for name, meant in near if meant), None)

    def topic_for(self, message: Message, taken: Iterable[TopicTemplate]) -> str | None:
        """Return where the answer to a message goes; None when it asks for none.

        A worker may publish where the device that asks may not: what it asks for is not done for it everywhere.

        Args:
            taken: Topics of the application's own routes.

        Raises:
            InvalidMessageError: Nobody may have an answer there.
        """
        topic = message.envelope.response_topic
        if topic is None:
            return None
        problem = topic_problem(topic)
        if problem is None and topic.startswith("$"):
            problem = "topics that begin with $ are the broker's own"
        if problem is None and self._within is not None:
            found = self._within.match(topic)
            if found is None or any(message.params.get(name, value) != value for name, value in found.items()):
                problem = f"this message's answer goes within {self._within.text!r} alone"
        elif problem is None and any(template.match(topic) is not None for template in taken):
            problem = "it is a route's of this application, which would take the answer for a message"
        if problem is not None:
            shown = printable(topic[:_SHOWN]) + ("…" if len(topic) > _SHOWN else "")
            raise InvalidMessageError(part="response topic", problem=f"{shown!r}: {problem}")
        return topic


def expiry_problem(expiry_s: object) -> str | None:
    """Return why a message cannot have this expiry; None when it can."""
    if expiry_s is None or (isinstance(expiry_s, int | float) and 0 < expiry_s <= LONGEST_EXPIRY_S):
        return None
    return f"expiry_s={expiry_s!r}; it is a positive number of seconds, {LONGEST_EXPIRY_S} at most, or None"


def answer_encoder(
    handler: Callable[..., Any], name: str, codec: RouteCodec | None = None
) -> Callable[[Any, Envelope], bytes]:
    """Return what makes a payload of what a controller returns, of the type that it is annotated with.

    Bytes go as they are, None as nothing, a protobuf message as protobuf; all else by the route's codec, without one
    text as it is and the rest as JSON. The message that was asked with tells which codec, where there are several.

    Raises:
        BindingError: Its annotation cannot be used.
    """
    annotation = signature_of(handler).return_annotation
    is_open = annotation is inspect.Signature.empty or hasattr(annotation, "SerializeToString")
    annotation = Any if is_open else annotation
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        adapter.core_schema.get("type")
    except (pydantic.errors.PydanticUserError, NameError) as exc:
        raise BindingError(
            controller=name,
            problem=f"its route has reply=, and pydantic cannot check what it returns, {annotation!r}",
            mend="annotate it with a type that pydantic knows, or not at all",
        ) from exc

    def payload_of(value: Any, asked: Envelope) -> bytes:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        if value is None:
            return b""
        if hasattr(value, "SerializeToString"):
            return bytes(value.SerializeToString())
        if codec is not None:
            plain = (
                to_jsonable_python(value)
                if annotation is Any
                else adapter.dump_python(value, mode="json", by_alias=True)
            )
            return encoded(codec.of(asked), plain)
        if isinstance(value, str):
            return value.encode()
        return json_bytes(value) if annotation is Any else adapter.dump_json(value, by_alias=True)

    def encode(value: Any, asked: Envelope) -> bytes:
        try:
            return payload_of(adapter.validate_python(value), asked)
        except pydantic.ValidationError as exc:
            problem = summary(exc)
        # What encodes it may be the application's own, given anything.
        except BaseException as exc:
            if is_interruption(exc):
                raise
            problem = error_line(exc)
        raise ReplyError(controller=name, problem=problem)

    return encode
