"""What an operator types and sees."""

import json
import time
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.cli.dlq.options import Duration, Rate, as_options
from routemq.cli.dlq.rendering import age, bar_chart, hex_dump, payload_text, pretty_json, size
from routemq.dead_letters import Bucket, LetterFilter
from routemq.dead_letters.redaction import Redaction
from routemq.dead_letters.times import TimeError, read_moment
from routemq.errors import ConfigurationError, TopicTemplateError
from routemq.settings import Settings

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(documents)
def test_pretty_json_changes_nothing_but_white_space(document: Any) -> None:
    text = json.dumps(document)
    pretty = pretty_json(text)
    assert json.loads(pretty) == document
    assert pretty == json.dumps(document, indent=2)


def test_numbers_are_shown_as_they_were_written() -> None:
    written = '{"a":1.50,"b":1e400,"c":12345678901234567890123,"d":[{}, []]}'
    assert pretty_json(written) == (
        '{\n  "a": 1.50,\n  "b": 1e400,\n  "c": 12345678901234567890123,\n  "d": [\n    {},\n    []\n  ]\n}'
    )


@pytest.mark.parametrize(
    ("payload", "kind", "shown"),
    [
        (b"", "empty", ""),
        (b'{"a": 1}', "JSON", '{\n  "a": 1\n}'),
        (b"21.5", "text", "21.5"),
        (b"\x1b[2J\n", "text", "\\x1b[2J\n"),
        (b"\xff\x00A", "binary", "000000  ff 00 41"),
    ],
)
def test_payload_is_shown_as_what_it_is(payload: bytes, kind: str, shown: str) -> None:
    found, text = payload_text(payload)
    assert found == kind
    assert text.startswith(shown)


def test_large_payloads_are_cut() -> None:
    assert len(payload_text(b"x" * 300_000)[1]) < 66_000
    assert "234,464 more bytes" in payload_text(b"x" * 300_000)[1]
    assert "more bytes" in hex_dump(b"\xff" * 2000)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("14d", 1_209_600)])
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_moments() -> None:
    assert read_moment("2h", now=1_790_010_000.0) == 1_790_002_800.0
    assert read_moment("1790000000.5", now=0.0) == 1790000000.5
    assert read_moment("2026-09-30T14:00:00+02:00", now=0.0) == 1790769600.0


def test_a_time_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert read_moment("2026-09-30T14:00", now=0.0) == read_moment("2026-09-30T14:00Z", now=0.0) == 1790776800.0
    finally:
        monkeypatch.undo()
        time.tzset()


# A year, or a date without its dashes, would be a second of 1970, since when everything has died.
@pytest.mark.parametrize("text", ["", " ", "soon", "-5", "nan", "inf", "1e300", "2026", "20260930", "1790000000000"])
def test_what_is_no_moment_is_said(text: str) -> None:
    with pytest.raises(TimeError, match="write 2h"):
        read_moment(text, now=1_790_000_000.0)


@pytest.mark.parametrize(("text", "rate"), [("200/s", 200), ("200", 200), ("30/min", 0.5), ("3600/h", 1)])
def test_rates(text: str, rate: float) -> None:
    assert Rate().convert(text, None, None) == rate


@pytest.mark.parametrize("kind", [Duration(), Rate()])
@pytest.mark.parametrize("text", ["", "soon", "-", "0x"])
def test_what_cannot_be_read_is_said(kind: click.ParamType[Any], text: str) -> None:
    with pytest.raises(click.BadParameter, match="write"):
        kind.convert(text, None, None)


def test_filter_is_typed_as_it_is_said() -> None:
    wanted = LetterFilter(route="a/{b}", error="it's", since=5.0)
    assert as_options(wanted) == "--route 'a/{b}' --error 'it'\"'\"'s' --since 5.0"
    assert str(LetterFilter()) == "all"
    with pytest.raises(TopicTemplateError):
        LetterFilter(topic="a/#/b")


def test_ages_and_sizes() -> None:
    assert [age(seconds) for seconds in (-1, 3, 119, 120, 7199, 7200, 172_800)] == [
        "0 s", "3 s", "119 s", "2 min", "119 min", "2 h", "2 d",
    ]  # fmt: skip
    assert [size(count) for count in (None, 3, 2048, 5 << 20)] == ["unreadable", "3 bytes", "2.0 KiB", "5.0 MiB"]


def test_bars_show_the_least_there_is() -> None:
    buckets = [Bucket(start_at=number, end_at=number + 1, count=count) for number, count in enumerate([0, 1, 4000])]
    *_, top, _, _, low, axis, times = bar_chart(buckets)
    assert top == "4,000 │  █"
    assert low == "    0 │ ▁█"
    assert axis == "      └───"
    assert times.strip()


def test_redaction_hook_that_is_not_there_is_an_error_of_those_who_bury() -> None:
    settings = Settings(dlq_redact_hook="no.such:hook")
    with pytest.raises(ConfigurationError, match=r"DLQ_REDACT_HOOK=no\.such:hook"):
        Redaction.of(settings)
    with pytest.raises(ConfigurationError, match="a function"):
        Redaction.of(Settings(dlq_redact_hook="os:sep"))
    assert Redaction.of(Settings()) is None
