"""How a controller's parameters are filled, and what is refused when its route is made."""

from __future__ import annotations

import asyncio
import functools
from datetime import date
from enum import IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field, RootModel

from routemq import Client, Context, Controller, Message, Router
from routemq.controllers import bind, controller_name
from routemq.envelope import Envelope
from routemq.errors import BindingError, InvalidMessageError, RouteMQError
from routemq.topics import TopicTemplate


class NoClient:
    """A client of the MQTT broker that nothing is published with."""

    def publish(self, topic: str, payload: Any, qos: int = 0, retain: bool = False) -> None:
        raise AssertionError("nothing is published here")


CLIENT: Client = NoClient()


class Reading(BaseModel):
    temperature: float
    humidity: Annotated[int, Field(ge=0, le=100)] | None = None


class Unfinished(BaseModel):
    part: NotDefinedAnywhere  # noqa: F821


class Line(IntEnum):
    FIRST = 1


def context(template: TopicTemplate, topic: str, payload: bytes = b"") -> Context:
    params = template.match(topic)
    assert params is not None
    message = Message(id="m", route="r", envelope=Envelope(topic=topic, payload=payload), params=params)
    return Context(message=message, client=CLIENT)


def call(handler: Any, template: str = "t", topic: str = "t", payload: bytes = b"") -> Any:
    made = TopicTemplate(template)
    result = bind(handler, made)(context(made, topic, payload))
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


# What is given


def test_convention_of_device_payload_and_client() -> None:
    async def process_data(device_id, payload, client):
        return device_id, payload, client

    assert call(process_data, "s/{device_id}/data", "s/d1/data", b'{"a": [1]}') == ("d1", {"a": [1]}, CLIENT)


def test_message_and_client_are_found_by_name_or_by_annotation() -> None:
    def by_name(message, client):
        return message.topic, client

    def by_annotation(incoming: Message, mqtt: Client) -> Any:
        return incoming.topic, mqtt

    assert call(by_name) == call(by_annotation) == ("t", CLIENT)


def test_static_methods_partials_and_callable_objects_are_controllers() -> None:
    class Doubler(Controller):
        @staticmethod
        def double(payload: int) -> int:
            return payload * 2

        async def __call__(self, payload: int) -> int:
            return payload * 3

    def scaled(payload: int, factor: int) -> int:
        return payload * factor

    assert call(Doubler.double, payload=b"21") == 42
    assert bind(Doubler(), TopicTemplate("t")).is_async
    assert call(Doubler(), payload=b"2") == 6
    assert call(functools.partial(scaled, factor=5), payload=b"2") == 10


def test_default_stays_where_nothing_is_given() -> None:
    def with_default(payload: bytes, threshold: int = 80) -> int:
        return threshold

    assert call(with_default) == 80


# The topic's parameters


@pytest.mark.parametrize(
    ("converter", "annotation", "level", "value"),
    [
        ("", None, "7", "7"),
        ("", int, "7", 7),
        ("", float, "-1.5", -1.5),
        ("", bool, "true", True),
        ("", bytes, "ü", b"\xc3\xbc"),
        ("", date, "2026-01-31", date(2026, 1, 31)),
        ("", Literal["a", "b"], "b", "b"),
        (":int", None, "007", 7),
        (":int", int, "7", 7),
        (":int", str, "007", "007"),
        (":int", float, "7", 7.0),
        (":int", Line, "1", Line.FIRST),
        (":float", None, "1e3", 1000.0),
        (":str", Any, "x y", "x y"),
    ],
)
def test_topic_parameter_is_converted(converter: str, annotation: Any, level: str, value: object) -> None:
    def take(line):
        return line

    if annotation is not None:
        take.__annotations__["line"] = annotation
    result = call(take, f"l/{{line{converter}}}", f"l/{level}")
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(("converter", "annotation"), [(":int", "str"), ("", "int"), (":float", "float"), ("", "Line")])
def test_topic_parameter_that_does_not_convert_is_told(converter: str, annotation: str) -> None:
    def take(line: Any) -> None: ...

    take.__annotations__["line"] = annotation
    with pytest.raises(InvalidMessageError) as caught:
        call(take, f"lines/{{line{converter}}}/state", "lines/abc/state")
    assert caught.value.part == "parameter 'line'"
    assert caught.value.problem.startswith("'abc': Input should be")


def test_rest_of_the_topic_is_a_parameter() -> None:
    def take(rest: str) -> str:
        return rest

    assert call(take, "logs/{rest:path}", "logs/a/b") == "a/b"


def test_a_long_parameter_is_shortened_in_the_error() -> None:
    def take(line: int) -> None: ...

    with pytest.raises(InvalidMessageError) as caught:
        call(take, "{line}", "x" * 60_000)
    assert len(str(caught.value)) < 300


# The payload


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"21.5", 21.5),
        (b"12345678901234567890123", 12345678901234567890123),
        ("grün".encode(), "grün"),
        (b"NaN", "NaN"),
        (b"", ""),
        (b"\xff\x00", b"\xff\x00"),
        (b'{"a":', '{"a":'),
    ],
)
def test_payload_without_annotation_is_json_else_text_else_bytes(payload: bytes, value: object) -> None:
    def take(payload):
        return payload

    def take_any(payload: Any) -> Any:
        return payload

    assert call(take, payload=payload) == call(take_any, payload=payload) == value


def test_payload_as_the_annotation_says() -> None:
    def raw(payload: bytes) -> bytes:
        return payload

    def text(payload: str) -> str:
        return payload

    def reading(payload: Reading) -> Reading:
        return payload

    def listed(payload: list[Reading] | None) -> Any:
        return payload

    assert call(raw, payload=b"\xff") == b"\xff"
    assert call(raw, payload=b"") == b""
    assert call(text, payload="ü".encode()) == "ü"
    assert call(reading, payload=b'{"temperature": 21.5}') == Reading(temperature=21.5)
    assert call(listed, payload=b'[{"temperature": 1}]') == [Reading(temperature=1)]
    assert call(listed, payload=b"null") is None


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "empty, where JSON is expected"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b'{"temperature": "hot"}', "temperature: Input should be a valid number"),
        (b"{}", "temperature: Field required"),
        (b'{"temperature": 1, "humidity": 101}', "humidity: Input should be less than or equal to 100"),
    ],
)
def test_payload_that_does_not_fit_says_where_and_why(payload: bytes, problem: str) -> None:
    def take(payload: Reading) -> None: ...

    with pytest.raises(InvalidMessageError) as caught:
        call(take, payload=payload)
    assert caught.value.part == "payload"
    assert problem in caught.value.problem


def test_error_never_shows_the_payload_and_stays_short() -> None:
    def take(payload: list[Reading]) -> None: ...

    with pytest.raises(InvalidMessageError) as caught:
        call(take, payload=b"[" + b",".join([b'{"temperature": "secret"}'] * 1000) + b"]")
    assert "secret" not in str(caught.value)
    assert "and 995 more" in str(caught.value)

    def named(payload: dict[str, int]) -> None: ...

    with pytest.raises(InvalidMessageError) as caught:
        call(named, payload=b'{"' + b"k" * 300_000 + b'": "x"}')
    assert len(str(caught.value)) < 600


def test_text_that_is_not_utf8_says_where() -> None:
    def take(payload: str) -> None: ...

    with pytest.raises(InvalidMessageError, match=r"payload: not UTF-8 text \(byte 2\)"):
        call(take, payload=b"ab\xff")


# What cannot be bound


class Unbindable:
    def method(self, payload): ...

    @staticmethod
    def unknown(device): ...

    @staticmethod
    def variadic(*payload): ...

    @staticmethod
    def keywords(**payload): ...

    @staticmethod
    def positional(payload, /): ...

    @staticmethod
    def generator(payload):
        yield payload

    @staticmethod
    async def async_generator(payload):
        yield payload

    @staticmethod
    def undefined(payload: Nowhere): ...  # noqa: F821

    @staticmethod
    def broken(payload: BaseModel.nothing): ...

    @staticmethod
    def opaque(payload: NoClient): ...

    @staticmethod
    def unfinished(payload: Unfinished): ...


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (Unbindable.method, "a method without its instance"),
        (Unbindable.unknown, "neither in the topic"),
        (Unbindable.variadic, "'*payload' is filled by no name"),
        (Unbindable.keywords, "'**payload' is filled by no name"),
        (Unbindable.positional, "is filled by no name"),
        (Unbindable.generator, "a generator"),
        (Unbindable.async_generator, "a generator"),
        (Unbindable.undefined, "name 'Nowhere' is not defined"),
        (Unbindable.broken, "AttributeError: nothing"),
        (Unbindable.opaque, "pydantic cannot convert the parameter 'payload'"),
        (Unbindable.unfinished, "not fully defined"),
    ],
)
def test_unbindable_signature_is_refused_with_a_mend(handler: Any, problem: str) -> None:
    with pytest.raises(BindingError) as caught:
        bind(handler, TopicTemplate("t/{device_id}"))
    assert problem in caught.value.problem
    assert caught.value.controller == f"{__name__}:Unbindable.{handler.__name__}"
    assert caught.value.mend


@pytest.mark.parametrize("annotation", [list[int], dict, "list[str] | None", tuple[int, ...], set[str], Reading])
def test_a_level_of_a_topic_is_refused_as_what_no_text_makes(annotation: Any) -> None:
    def controller(device_id) -> None: ...  # type: ignore[no-untyped-def]

    controller.__annotations__["device_id"] = annotation
    with pytest.raises(BindingError, match=r"no level of a topic is ever .*, which 'device_id' asks for"):
        bind(controller, TopicTemplate("t/{device_id}"))


@pytest.mark.parametrize(
    "annotation", [bytes, int | None, RootModel[str], Annotated[list[str], BeforeValidator(str.split)], int | list[int]]
)
def test_a_level_of_a_topic_may_be_whatever_text_makes(annotation: Any) -> None:
    def controller(device_id) -> None: ...  # type: ignore[no-untyped-def]

    controller.__annotations__["device_id"] = annotation
    bind(controller, TopicTemplate("t/{device_id}"))


def test_name_of_a_controller_is_how_a_route_may_name_it() -> None:
    assert controller_name(Message.retry) == "routemq.message:Message.retry"
    assert controller_name("pkg.module:Class.method") == "pkg.module:Class.method"
    assert "partial" in controller_name(functools.partial(Message.text))


class MuteError(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise ValueError


def mute() -> None:
    raise MuteError


def test_an_annotation_that_raises_what_cannot_be_told_is_named() -> None:
    def controller(device_id: mute()) -> None: ...  # type: ignore[valid-type]

    with pytest.raises(RouteMQError, match="cannot be read: MuteError"):
        Router().on("t/{device_id}", controller)
