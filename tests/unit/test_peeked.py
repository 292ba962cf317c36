"""The beginning of a large dead letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.dead_letters.letter import DeadLetter
from routemq.dead_letters.peeked import peeked
from routemq.envelope import Envelope, TaskMessage


def message(payload: bytes) -> tuple[DeadLetter, bytes]:
    task = TaskMessage(route="r", queue="q", envelope=Envelope(topic="t/ü", payload=payload))
    return DeadLetter.of(task, reason="too_large", error=ValueError(), worker="w"), task.encode()


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from((b"", b"x" * 5000)),
    st.data(),
)
def test_whatever_is_cut_the_beginning_of_the_payload_is_its_beginning(
    payload: bytes, rest: bytes, data: st.DataObject
) -> None:
    payload += rest
    letter, raw = message(payload)
    found = peeked(letter, raw[: data.draw(st.integers(min_value=100, max_value=len(raw)))], raw_bytes=len(raw))
    if found.problem is None:
        assert payload.startswith(found.payload)
        assert found.bytes == len(payload)


@pytest.mark.parametrize(
    "payload", [b"x" * 9000, b"\xff" * 9000, b'{"a": "\\u0000\n"}' * 500], ids=["text", "binary", "json"]
)
def test_most_of_what_is_read_is_shown(payload: bytes) -> None:
    letter, raw = message(payload)
    # A message that came back from a worker begins with its deliveries.
    for item in (raw, b'{"routemq":[1,0],' + raw[1:]):
        found = peeked(letter, item[:6000], raw_bytes=len(item))
        assert payload.startswith(found.payload)
        assert len(found.payload) > 2500
        assert found.problem is None


@pytest.mark.parametrize("raw", [b"", b"\x00\x01", b"[]", b'{"body": 5}', b'{"body": "????"}', b'{"body": "W10="}'])
def test_what_is_no_message_is_shown_as_it_is(raw: bytes) -> None:
    letter, _ = message(b"")
    found = peeked(letter, raw, raw_bytes=9_000_000)
    assert (found.payload, found.bytes) == (raw, 9_000_000)
    assert "no RouteMQ message" in str(found.problem)
