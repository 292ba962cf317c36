"""Redaction runs a user's function, which does what it likes."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.redaction import REDACTED, Redaction
from routemq.envelope import Envelope, TaskMessage


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def _raise(error: Exception) -> Callable[..., Any]:
    def hook(*_args: object) -> None:
        raise error

    return hook


@pytest.mark.parametrize(
    "hook",
    [
        lambda _topic, payload: payload.decode(),
        lambda _topic, _payload: None,
        lambda _topic, payload: bytearray(payload),
        lambda _topic: b"",
        _raise(MuteError()),
        _raise(RecursionError()),
    ],
    ids=["str", "None", "bytearray", "another signature", "mute", "recursion"],
)
def test_a_hook_that_does_what_it_likes_costs_the_payload_and_nothing_else(hook: Any) -> None:
    message = TaskMessage(route="r", queue="q", envelope=Envelope(topic="t", payload=b'{"secret": 1}'))
    letter = DeadLetter.of(message, reason="failed", error=ValueError("x"), worker="w")

    letter, item = Redaction(hook=hook).of_item(letter, message.encode())

    kept = TaskMessage.decode(item)
    assert (kept.id, kept.envelope.payload) == (message.id, REDACTED.encode())
    assert letter.redacted == ("payload",)
    assert orjson.loads(letter.description())["reason"] == "failed"
