"""The layout of the history, and what it may be read as."""

import math

import pytest
import redis

from routemq.metrics.histogram import BOUNDS_S
from routemq.metrics.history import History, Slot, steps_of
from routemq.metrics.history_columns import columns_of
from routemq.metrics.history_grain import COUNTS, Span
from routemq.metrics.history_keeper import HistoryKeeper
from routemq.queues import Keys


def test_rows_that_are_in_redis_are_read_as_they_were_written() -> None:
    # Who changes one of these gives the keys other names (`Keys.history`): a release would misread the other's rows.
    assert COUNTS == ("received", "replayed", "done", "retried", "dead")
    assert (len(BOUNDS_S), math.fsum(BOUNDS_S)) == (17, pytest.approx(2209.4435))


@pytest.mark.parametrize(("span", "first", "last", "whole"), [("day", 60, 3600, 3600), ("month", 3600, 86_400, 86_400)])
def test_steps_fill_what_a_key_spans(span: Span, first: int, last: int, whole: int) -> None:
    steps = steps_of(span)
    assert (steps[0], steps[-1]) == (first, last)
    assert all(whole % step == 0 and step % first == 0 for step in steps)


def test_what_nobody_looked_at_is_no_zero_and_times_of_no_run_are_none() -> None:
    none, one = [0] * (len(BOUNDS_S) + 1), [0, 4, *[0] * (len(BOUNDS_S) - 1)]
    slots = (
        Slot(at=60, counts=None, run=none, wait=none),
        Slot(at=120, counts=dict.fromkeys(COUNTS, 3), run=one, wait=none),
    )
    found = columns_of(History(route="a", step_s=60, slots=slots))
    assert (found["from"], found["until"], found["done"], found["wait_p50_s"]) == (60, 180, [None, 3], [None, None])
    assert found["run_p50_s"] == [None, 0.00175]
    assert found["sums"]["done"] == 3


def test_what_nobody_else_says_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    keeper = HistoryKeeper(redis.Redis(), Keys("k:"))

    def fails() -> None:
        raise TypeError("a number that no JSON has")

    monkeypatch.setattr(keeper, "write", fails)
    keeper.start()
    keeper.stop()
    assert caplog.text.count("the history of routes is not kept: TypeError: a number that no JSON has") == 1
