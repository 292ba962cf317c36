"""When ingest stops taking messages and goes on, and what it says of what it has done."""

import logging

import pytest
import redis
from routemq_ingest.flow import Flow
from routemq_ingest.statistics import Account, Statistics


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flowing(clock: Clock, *, max_queue_length: int = 100) -> Flow:
    flow = Flow(max_queue_length=max_queue_length, clock=clock)
    assert flow.pause is not None
    flow.delivered({})
    assert flow.pause is None
    return flow


def test_a_redis_that_fails_is_tried_later_each_time_until_it_takes_something() -> None:
    clock = Clock()
    flow = flowing(clock)
    delays_s = []
    for _ in range(10):
        flow.failed(redis.ConnectionError("gone"))
        assert "gone" in (flow.pause or "")
        delays_s.append(flow.retry_at - clock.now)
        clock.now = flow.retry_at
    assert delays_s == sorted(delays_s)
    assert 0 < delays_s[0] < delays_s[-1] < 10
    flow.delivered({"q": 1})
    assert flow.pause is None
    assert flow.paused_s == pytest.approx(sum(delays_s))
    flow.failed(redis.ConnectionError("again"))
    assert flow.retry_at - clock.now == pytest.approx(delays_s[0])


def test_a_queue_that_was_too_long_must_fall_below_its_limit_before_messages_are_taken() -> None:
    flow = flowing(Clock())
    flow.delivered({"a": 100, "b": 1})
    assert flow.pause is None
    flow.delivered({"a": 101})
    assert "a (101)" in (flow.pause or "")
    # Of others that are short, nothing is learnt about the long one.
    flow.delivered({"b": 1})
    flow.delivered({"a": 91})
    assert flow.pause is not None
    flow.delivered({"a": 90})
    assert flow.pause is None
    assert flow.long_queues == {}


def test_a_pause_is_spoken_of_at_once_at_another_cause_and_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    flow = flowing(clock)
    with caplog.at_level(logging.ERROR):
        for _ in range(20):
            flow.failed(ValueError("one"))
            clock.now += 1
        assert len(caplog.records) == 1
        flow.delivered({"a": 101})
        assert len(caplog.records) == 2
        clock.now += 3600
        flow.delivered({"a": 102})
        assert len(caplog.records) == 3


def test_an_account_tells_what_came_since_the_one_before() -> None:
    account = Account(1000.0)
    assert not account.is_due(1001.0)
    assert account.is_due(1060.0)
    first = account.line(Statistics(received=600, batches=6), 1060.0)
    assert "received=600 in 60 s (10.0/s, 100.0 per batch) total=600" in first
    assert not account.is_due(1061.0)
    # At the end of a process that has just told, nothing is divided by nothing.
    assert "received=0" in account.line(Statistics(received=600, batches=6), 1060.0)
