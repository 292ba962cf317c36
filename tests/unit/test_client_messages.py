import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, model_serializer
from routemq_tasks.asking import Question
from routemq_tasks.client import MessageClient
from routemq_tasks.publication import Publication
from routemq_tasks.publisher import Publisher

from routemq import Client, Router
from routemq.errors import PublishError
from routemq.message import PublishProperties, Response
from routemq.settings import load_settings
from routemq.testing import deliver
from routemq.topics import topic_problem


class Answer(BaseModel):
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    is_ok: bool = Field(default=True, alias="ok")


class Unserializable(BaseModel):
    @model_serializer
    def refuse(self) -> dict[str, Any]:
        raise ZeroDivisionError


def test_a_model_goes_as_the_json_that_reads_it_wherever_it_stands() -> None:
    def controller(client: Client) -> None:
        for payload in (Answer(), [Answer()], {"a": {"b": Answer()}}):
            client.publish("a", payload)

    router = Router()
    router.on("x", controller)
    text = '{"at":"2026-01-01T00:00:00Z","ok":true}'
    published = deliver(router, "x").check().published
    assert [each.payload.decode() for each in published] == [text, f"[{text}]", f'{{"a":{{"b":{text}}}}}']


@pytest.mark.parametrize(
    ("topic", "payload", "qos", "problem"),
    [
        ("", b"", 0, "at least one character"),
        ("a/+", b"", 0, "no wildcard"),
        ("a/#", b"", 0, "no wildcard"),
        ("a\0", b"", 0, "null character"),
        ("x" * 70_000, b"", 0, "longer than"),
        ("\ud800", b"", 0, "not valid UTF-8"),
        ("a", b"", 3, "qos=3"),
        ("a", b"", 1.0, r"qos=1\.0"),
        ("a", None, 0, "None is no payload"),
        ("a", {"b": object()}, 0, "cannot be encoded"),
        ("a", Unserializable(), 0, "cannot be encoded"),
    ],
)
def test_what_cannot_be_published_is_refused_at_once(topic: str, payload: object, qos: int, problem: str) -> None:
    client = MessageClient(Publisher(load_settings()))
    with pytest.raises(PublishError, match=problem):
        client.publish(topic, payload, qos)  # type: ignore[arg-type]
    client.confirm()


@pytest.mark.parametrize("pairs", [{"a": "b"}, "ab", None, (("a", 5),), (("a",),), (("a", "\ud800"),), ("ab",)])
def test_user_properties_that_are_no_pairs_of_text_are_refused_at_once(pairs: Any) -> None:
    client = MessageClient(Publisher(load_settings()))
    with pytest.raises(PublishError, match=r"user_properties=.*; they are pairs of name and value"):
        client.publish("a", b"", properties=PublishProperties(user_properties=pairs))
    client.confirm()


def test_answers_are_heard_under_any_client_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_CLIENT_ID", "line 1 + 2 #3")
    publisher = Publisher(load_settings())
    assert topic_problem(publisher.response_topic) is None


def test_an_answer_for_a_loop_that_is_closed_harms_nobody() -> None:
    question = Question("a", 60.0, lambda _: None)

    async def gives_up() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(question, 0.01)

    asyncio.run(gives_up())
    question.settle(Response(payload=b"late"))
    assert question.result().payload == b"late"


class Echo(Publisher):
    """Confirms and answers at once; every thousandth is refused."""

    def __init__(self) -> None:
        super().__init__(load_settings())
        self.count = 0

    def publish(self, publication: Publication) -> None:
        self.count += 1
        publication.settle("refused" if self.count % 1000 == 1 else None)
        if publication.question is not None:
            publication.question.settle(Response(payload=publication.payload))


def test_a_script_that_goes_on_remembers_only_what_failed() -> None:
    client = MessageClient(Echo())
    for number in range(5_000):
        client.publish("a", b"")
        assert client.request("a", str(number)).result().payload == str(number).encode()
    assert len(client._publications) + len(client._questions) < 2000
    with pytest.raises(PublishError, match="refused"):
        client.confirm()
