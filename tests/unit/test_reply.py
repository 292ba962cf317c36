"""Answers to requests: where they may go, and what is made of what a controller returned."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field

from routemq import Batch, Client, Message, PublishProperties, Reply, Router
from routemq.envelope import Envelope
from routemq.errors import InvalidMessageError, ReplyError, RequestError, RouteError
from routemq.reply import answer_encoder
from routemq.testing import Dead, deliver
from routemq.topics import TopicTemplate


class Answer(BaseModel):
    at: datetime
    number: int = 1


ASKED = Envelope(topic="a", payload=b"")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def message(response_topic: str | None) -> Message:
    envelope = Envelope(topic="a/d1", payload=b"", response_topic=response_topic)
    return Message(id="1", route="a", envelope=envelope, params={"device": "d1"})


@pytest.mark.parametrize(
    ("within", "topic"),
    [
        (None, "replies/d1"),
        (None, "/"),
        ("replies/{device}/{rest:path}", "replies/d1"),
        ("replies/{device}/{rest:path}", "replies/d1/a/b"),
        ("replies/{anyone}", "replies/d2"),
        # The author of the route says so.
        ("a/{device}", "a/d1"),
    ],
)
def test_an_answer_goes_where_its_route_allows(within: str | None, topic: str) -> None:
    assert Reply(within=within).topic_for(message(topic), [TopicTemplate("a/{device}")]) == topic
    assert Reply(within=within).topic_for(message(None), []) is None


@pytest.mark.parametrize(
    ("within", "topic"),
    [
        (None, "a/d1"),
        (None, "a/d2"),
        (None, "half/\ud800"),
        (None, "$share/g/a"),
        ("replies/{device}/{rest:path}", "replies/d2/x"),
        ("replies/{device}/{rest:path}", "replies/+/x"),
        ("replies/{device}", "replies/d1/x"),
        ("{all:path}", "$SYS/x"),
    ],
)
def test_an_answer_goes_nowhere_else(within: str | None, topic: str) -> None:
    with pytest.raises(InvalidMessageError, match=r"^response topic: '"):
        Reply(within=within).topic_for(message(topic), [TopicTemplate("a/{device}")])


def untyped(value):  # type: ignore[no-untyped-def]
    return value


def typed(value: Any) -> Answer:
    return Answer(at=value)


class Renamed(BaseModel):
    number: int = Field(1, alias="No")


def renamed() -> Renamed:
    return Renamed()


def perhaps(value: Any) -> Answer | None:
    return value  # type: ignore[no-any-return]


def numbers() -> list[float]:
    return []


def done() -> None:
    """Nothing."""


async def text() -> str:
    return ""


@pytest.mark.parametrize(
    ("handler", "returned", "payload"),
    [
        (untyped, b"\0\xff", b"\0\xff"),
        (untyped, "é", "é".encode()),
        (untyped, None, b""),
        # NaN is no JSON.
        (untyped, {"a": float("nan")}, b'{"a":null}'),
        (numbers, [float("inf")], b"[null]"),
        (untyped, {"a": AT}, b'{"a":"2026-01-01T00:00:00Z"}'),
        (untyped, Answer(at=AT), b'{"at":"2026-01-01T00:00:00Z","number":1}'),
        (typed, Answer(at=AT), b'{"at":"2026-01-01T00:00:00Z","number":1}'),
        (typed, {"at": AT, "number": 2, "secret": "kept"}, b'{"at":"2026-01-01T00:00:00Z","number":2}'),
        # As the document of the routes has it, and as a payload of this type is read.
        (renamed, Renamed(), b'{"No":1}'),
        (untyped, Renamed(), b'{"No":1}'),
        (perhaps, None, b""),
        (done, None, b""),
        (text, "x", b"x"),
    ],
)
def test_what_is_returned_is_sent_as_its_type_says(handler: Callable[..., Any], returned: Any, payload: bytes) -> None:
    assert answer_encoder(handler, "a:b")(returned, ASKED) == payload


@pytest.mark.parametrize(
    ("handler", "returned"),
    [(typed, None), (typed, {"number": 1}), (done, 3), (text, 3), (untyped, object()), (untyped, "half \ud800")],
)
def test_what_does_not_fit_is_the_controllers_failure(handler: Callable[..., Any], returned: Any) -> None:
    with pytest.raises(ReplyError, match=r"^what a:b returned cannot be its answer: "):
        answer_encoder(handler, "a:b")(returned, ASKED)


def unknown() -> Callable[..., Any]:
    class Strange:
        """Nothing that pydantic knows."""

    def handler() -> Strange:
        return Strange()

    handler.__annotations__["return"] = Strange
    return handler


@pytest.mark.parametrize(
    ("handler", "options", "problem"),
    [
        (unknown(), {"reply": True}, "its route has reply=, and pydantic cannot check what it returns"),
        (done, {"reply": "yes"}, "reply='yes'. Mend: use True or a Reply"),
        (done, {"reply": 1}, "reply=1. Mend: use True or a Reply"),
        (done, {"reply": True, "batch": Batch()}, "reply= and batch=. Mend: leave one out"),
        (
            done,
            {"reply": Reply(within="r/{devcie}/{rest:path}")},
            "'devcie' is no parameter of the topic. Mend: write 'device'",
        ),
    ],
)
def test_a_route_that_could_not_answer_is_not_made(handler: Any, options: Any, problem: str) -> None:
    with pytest.raises(RouteError) as raised:
        Router().on("a/{device}", handler, **options)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"qos": 3}, {"expiry_s": 0}, {"expiry_s": float("inf")}, {"expiry_s": "1"}, {"within": "a/#/b"}]
)
def test_an_answer_that_could_not_be_sent_is_not_made(options: Any) -> None:
    with pytest.raises(ValueError, match="="):
        Reply(**options)


def test_an_answer_is_published_with_the_correlation_data_of_its_request() -> None:
    router = Router()
    router.on("a/{device}", typed_by_device, reply=Reply(expiry_s=60))
    router.on("asks/{device}", asks)
    (answer,) = deliver(router, "a/d1", response_topic="replies/d1", correlation_data=b"7").check().published
    assert (answer.topic, answer.json(), answer.qos) == ("replies/d1", {"number": 1, "at": "2026-01-01T00:00:00Z"}, 1)
    assert answer.properties == PublishProperties(correlation_data=b"7", expiry_s=60)
    assert deliver(router, "a/d1").check().published == ()
    refused = deliver(router, "a/d1", response_topic="asks/d1")
    assert (refused.outcome, refused.published) == (Dead("invalid"), ())

    asking = deliver(router, "asks/d1")
    assert isinstance(asking.error, RequestError)
    assert [each.topic for each in asking.published] == ["devices/d1", "devices/d1"]


def typed_by_device(device: str) -> Answer:
    return Answer(at=AT)


async def asks(device: str, client: Client) -> None:
    with pytest.raises(RequestError, match=r"an async controller waits with `await client\.request"):
        client.request(f"devices/{device}", b"").result()
    await client.request(f"devices/{device}", b"")
