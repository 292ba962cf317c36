"""The times of a worker's runs."""

import time

import pytest

from routemq.metrics.timings import Timings


@pytest.mark.parametrize("ahead_s", [0.0, 86_400.0, -86_400.0, 315_360_000.0])
def test_a_clock_that_jumps_while_a_message_runs_does_not_change_how_long_it_ran(
    monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    timings, received_at = Timings(), time.time()
    monkeypatch.setattr(time, "time", lambda: received_at + 3.0 + ahead_s)
    timings.ended("a", took_s=2.0, received_at=received_at, is_first=True, is_done=True)
    assert timings.run_totals() == {"a": (1, 2.0)}
    route = timings.routes["a"]
    assert route.wait.sum_s == pytest.approx(max(0.0, 1.0 + ahead_s))
    assert route.latency.sum_s == pytest.approx(max(0.0, 3.0 + ahead_s))


@pytest.mark.parametrize("received_at", [None, 0, "yesterday"])
def test_a_message_that_does_not_say_when_it_was_received_is_timed_all_the_same(received_at: object) -> None:
    timings = Timings()
    timings.ended("a", took_s=2.0, received_at=received_at, is_first=True, is_done=True)
    assert timings.run_totals() == {"a": (1, 2.0)}
    assert sum(timings.routes["a"].latency.counts) == 0
