"""What a controller sees of a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq import Message
from routemq.envelope import Envelope
from routemq.errors import InvalidMessageError


def message(payload: bytes) -> Message:
    return Message(id="m", route="r", envelope=Envelope(topic="a/b", payload=payload))


def test_topic_and_payload_are_the_envelopes() -> None:
    assert (message(b"\xff").topic, message(b"\xff").payload) == ("a/b", b"\xff")


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "empty, where JSON is expected"),
        (b"{", "not JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"a": NaN}', "not JSON: expected value"),
        (b"[" * 100_000, "not JSON: recursion limit"),
        (b"\xff", "not JSON"),
    ],
)
def test_json_that_is_none_says_why(payload: bytes, problem: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        message(payload).json()
    assert caught.value.part == "payload"
    assert problem in caught.value.problem


def test_numbers_stay_exact() -> None:
    assert message(b'{"imei": 123456789012345678901}').json() == {"imei": 123456789012345678901}


@given(st.binary(max_size=50))
def test_any_payload_is_read_or_refused_in_words(payload: bytes) -> None:
    for read in (message(payload).text, message(payload).json):
        try:
            read()
        except InvalidMessageError as exc:
            assert exc.problem  # noqa: PT017  that it raises is not asked for; what it says is
