"""What is kept of a failure."""

import base64
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.dead_letters import DeadLetter, LetterFilter, LetterFilterError
from routemq.dead_letters.fingerprint import ErrorDescription, pattern_of
from routemq.dead_letters.letter import generation_of
from routemq.dead_letters.letter_filter import CRITERIA
from routemq.dead_letters.watched import next_letter
from routemq.envelope import Envelope, TaskMessage


def refuse(text: str) -> None:
    raise ValueError(text)


def raised(text: str, *, deeper: bool = False) -> Exception:
    def go_deeper() -> None:
        refuse(text)

    with pytest.raises(ValueError) as caught:  # noqa: PT011  any text is tried
        (go_deeper if deeper else lambda: refuse(text))()
    return caught.value


PAYLOADS = [
    b'{"name": "Pump A-1", "path": "a/b"}',
    b"pump\na-1 \\u0041 \x07",
    "\N{KELVIN SIGN} pump".encode(),
    "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}".encode(),
    b"\xff pump",
    b"",
    b"pump A-1 " * 1000,
]


@pytest.mark.parametrize("words", ["PUMP", "a-1", "k pump", "payload", "v", "u0041", "topic", '"name"', "\u00ff"])
def test_words_are_found_in_the_payload_alone_however_it_travels(words: str) -> None:
    for payload in PAYLOADS:
        item = TaskMessage(route="r", queue="q", envelope=Envelope(topic="topic/v", payload=payload)).encode()
        found = LetterFilter(contains=words).matches_payload(item)
        assert found == (words.lower() in payload.decode("utf-8", "replace").lower()), (words, payload)
    # Another sender's JSON may escape any letter.
    task = TaskMessage(route="r", queue="q", envelope=Envelope(topic="t", payload=b"pump"))
    body = base64.b64decode(json.loads(task.encode())["body"]).replace(b"pump", b"\\u0050ump")
    item = task.wrap(body=base64.b64encode(body).decode(), argsrepr="")
    assert LetterFilter(contains="pump").matches_payload(item)
    assert LetterFilter(contains="pump").matches_payload(b"\xff a PUMP, and no message")
    assert LetterFilter(contains="pump").matches_payload(b'{"body": "cHVtcA==", "pump": 1}')


@pytest.mark.parametrize(
    ("topic", "text", "pattern"),
    [
        ("s/d1", "device 'hall' at s/d1: 3 of [1, 2] failed (kitchen=4)", "device # at # of # failed (kitchen=#)"),
        ("rooms/kitchen/data", "Kitchen: no such room", "# no such room"),
        ("s/d1", "unknown unit \"mm Hg\", can't use b'x' or `y` don't", "unknown unit #, can't use # or # don't"),
        ("s/d1", "'temperature'", "#"),
        ("s/d1", "{'a': {'b': [1, {'c': \"it's\"}]}} is bad", "# is bad"),
        ("s/d1", "row 5, 6, 7 | 8 of db-1.example.com:5432 refused", "row # of # refused"),
        ("s/d1", "user ana@example.com " + "x" * 40 + " 50% of /var/lib/x", "user # of #"),
        ("s/d1", "2 errors for Reading\na\n  Missing [input={}]\nb\n  Missing", "# errors for Reading\na\n  Missing #"),
        (None, "it 'never ends", "it 'never ends"),
        ("s//d1", "", ""),
    ],
)
def test_what_is_about_one_message_is_no_part_of_a_pattern(topic: str | None, text: str, pattern: str) -> None:
    assert pattern_of(text, topic) == pattern


@given(st.text(), st.none() | st.text())
def test_any_text_has_a_pattern(text: str, topic: str | None) -> None:
    assert len(pattern_of(text * 50, topic)) <= 300


def test_fingerprint_ignores_numbers_and_ids_but_not_words_or_places() -> None:
    one = ErrorDescription.of(raised("sensor d-17 at 0x7f3a answered 4.5 after 3 tries")).fingerprint
    same = ErrorDescription.of(raised("sensor d-9931 at 0xffff answered 1e9 after 12 tries")).fingerprint
    assert one == same
    assert one != ErrorDescription.of(raised("sensor d-17 at 0x7f3a refused 4.5 after 3 tries")).fingerprint
    assert (
        one != ErrorDescription.of(raised("sensor d-17 at 0x7f3a answered 4.5 after 3 tries", deeper=True)).fingerprint
    )
    assert one != ErrorDescription.of(KeyError("sensor")).fingerprint


def test_traceback_shows_frames_and_causes_without_the_message() -> None:
    def fail() -> None:
        try:
            refuse("inner")
        except ValueError as exc:
            raise RuntimeError("outer 1") from exc

    with pytest.raises(RuntimeError) as caught:
        fail()
    described = ErrorDescription.of(caught.value)
    assert (described.exception, described.message) == ("RuntimeError", "outer 1")
    assert "Caused by ValueError: inner" in described.traceback
    assert 'raise RuntimeError("outer 1") from exc' in described.traceback
    assert "in refuse" in described.traceback


def test_hostile_exception_is_described() -> None:
    class HostileError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    error = HostileError()
    error.__cause__ = error
    assert "cannot be made: RuntimeError" in ErrorDescription.of(error).message

    def recurse() -> None:
        recurse()

    with pytest.raises(RecursionError) as caught:
        recurse()
    assert len(ErrorDescription.of(caught.value).traceback) <= 8000
    assert len(ErrorDescription.of(ValueError("x" * 10**6)).message) <= 2000


def test_description_is_read_back() -> None:
    message = TaskMessage(route="r", queue="q", envelope=Envelope(topic="t/\U0001f600", payload=b"\xff"), generation=2)
    letter = DeadLetter.of(message, reason="rejected", error=ValueError("lone \ud800"), worker="w")
    read = DeadLetter.from_description(letter.id, letter.description(), died_at=0.0)
    assert read == letter
    assert (read.task_id, read.generation, read.error) == (message.id, 2, "ValueError: lone ?")


def test_letter_without_an_id_gets_one() -> None:
    one, two = (
        DeadLetter.bare(route="r", queue="q", message_id=None, error=ValueError(), worker="w") for _ in range(2)
    )
    assert one.id != two.id
    assert one.generation == 0


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize(
    "value", ["", " ", "\t\n", "\u00a0\u3000", None, [], ["x"], {}, True, False, b"x", float("nan")]
)
def test_a_filter_of_nothing_is_refused(name: str, value: Any) -> None:
    with pytest.raises(LetterFilterError, match=name):
        LetterFilter.of({name: value}, now=1_790_000_000.0)
    if value is not None:
        with pytest.raises(LetterFilterError, match=name):
            LetterFilter(**{name: value})


def test_a_topic_means_itself_alone_and_a_part_only_by_its_sign() -> None:
    message = TaskMessage(route="r", queue="q", envelope=Envelope(topic="alerts", payload=b""))
    letter = DeadLetter.of(message, reason="failed", error=OSError(), worker="w")
    topics = ["alerts", "ALERTS", "alerts/fire", "site/alerts/1", "alert"]
    found = {
        wanted: [topic for topic in topics if LetterFilter(topic=wanted).matches(replace(letter, topic=topic))]
        for wanted in ("alerts", "~alerts", "~s/1", "+", "alerts/#")
    }
    assert found == {
        "alerts": ["alerts"],
        "~alerts": topics[:4],
        "~s/1": ["site/alerts/1"],
        "+": ["alerts", "ALERTS", "alert"],
        "alerts/#": ["alerts", "alerts/fire"],
    }
    assert not LetterFilter(topic="~alerts").is_indexed
    assert not LetterFilter(topic="~alerts").matches(replace(letter, topic=None))
    for nothing in ("~", "~ "):
        with pytest.raises(LetterFilterError, match="after ~"):
            LetterFilter(topic=nothing)


def test_a_filter_knows_its_criteria() -> None:
    assert set(CRITERIA) == {item.name for item in fields(LetterFilter) if item.init}
    assert LetterFilter.of({}, now=0.0) == LetterFilter()
    with pytest.raises(LetterFilterError, match="rute"):
        LetterFilter.of({"rute": "x"}, now=0.0)


@pytest.mark.parametrize(
    ("name", "generation"),
    [("t:0", 0), ("t:2", 2), ("a:7:3", 3), ("t:2~4", 2), ("t", 0), ("", 0), ("t:", 0), ("t:-1", 0), ("t:\u0663", 0),
     ("t:5\n", 0), ("t:" + "9" * 5000, 0)],
)  # fmt: skip
def test_the_generation_in_an_id_is_a_number_whatever_the_id_is(name: str, generation: int) -> None:
    assert generation_of(name) == generation
    assert next_letter(name) == f"{name.rpartition(':')[0]}:{generation + 1}"
