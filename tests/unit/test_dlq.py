"""What an operator types and sees."""

import time

import click
import pytest

from routemq.cli.dlq.frame import actor
from routemq.cli.dlq.options import Duration, Rate, as_options
from routemq.cli.dlq.rendering import age, bar_chart, size
from routemq.dead_letters import Bucket, LetterFilter
from routemq.dead_letters.redaction import Redaction
from routemq.dead_letters.times import TimeError, moment, read_moment
from routemq.errors import ConfigurationError, TopicTemplateError
from routemq.settings import Settings


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


def test_a_moment_is_shown_as_it_is_read() -> None:
    assert moment(1790776800.9) == "2026-09-30 14:00:00Z"
    assert read_moment(moment(1790776800.0), now=0.0) == 1790776800.0
    assert [moment(at) for at in (1e300, float("nan"))] == ["1e+300", "nan"]


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
def test_what_cannot_be_read_is_said(kind: click.ParamType, text: str) -> None:
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


def test_who_asks_is_text_whatever_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "\udcff\n")
    assert actor().encode().startswith(rb"\udcff\n@")
