"""A payload is encoded alike, whoever publishes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_serializer

from routemq import Client, Message, Router
from routemq.errors import PublishError
from routemq.publishable import publishable
from routemq.testing import deliver


class Reading(BaseModel):
    at: datetime
    degrees: float = Field(alias="temperature")


class Hostile(BaseModel):
    number: int = 1

    @field_serializer("number")
    def written(self, number: int) -> int:
        raise KeyError(number)


@dataclass
class Plain:
    number: int


class Word(StrEnum):
    ON = "on"


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (b"\xff", b"\xff"),
        (memoryview(b"a"), b"a"),
        ("ä", "ä".encode()),
        (Word.ON, b"on"),
        (21.5, b"21.5"),
        (True, b"true"),
        ({"n": 2**80}, b'{"n":1208925819614629174706176}'),
        ([math.nan, math.inf], b"[null,null]"),
        ({"at": NOON, 1: {2}}, b'{"at":"2026-01-01T12:00:00Z","1":[2]}'),
        ([Reading(at=NOON, temperature=1)], b'[{"at":"2026-01-01T12:00:00Z","temperature":1.0}]'),
        (Plain(1), b'{"number":1}'),
        (Decimal("1.10"), b'"1.10"'),
    ],
)
def test_a_device_a_controller_and_an_answer_say_the_same(payload: Any, data: bytes) -> None:
    def answer(message: Message, client: Client) -> Any:
        client.publish("sent", payload)
        return payload

    router = Router()
    router.on("asked", answer, reply=True)
    result = deliver(router, "asked", payload, response_topic="answered").check()
    assert [each.payload for each in result.published] == [data, data]
    assert publishable("asked", payload) == data


@pytest.mark.parametrize("payload", [None, object(), "\ud800", {"a": "\ud800"}, {"a": b"\xff"}, CIRCLE, Hostile()])
def test_what_no_device_can_send_no_test_delivers_and_no_controller_publishes(payload: Any) -> None:
    def attempt(client: Client) -> None:
        client.publish("sent", payload)

    router = Router()
    router.on("asked", attempt)
    refused: list[Callable[[], object]] = [
        lambda: deliver(router, "asked", payload),
        lambda: deliver(router, "asked").check(),
    ]
    for refuse in refused:
        with pytest.raises(PublishError, match="payload"):
            refuse()
