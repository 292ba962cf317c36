"""Sentry, as its own documentation sets it up for Celery, hears of failures of controllers, each once."""

import pytest

from tests.collectors import sentry_server
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

TRACED = "tests.applications.traced"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=TRACED)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("report_retries", [False, True])
def test_an_error_that_ends_a_message_is_one_event(bench: Bench, pool: str, report_retries: bool) -> None:
    with sentry_server() as sentry:
        env = {"SENTRY_DSN": sentry.dsn, "ROUTEMQ_REPORT_RETRIES": str(report_retries)}
        with bench.worker("-Q", "work", "-P", pool, "-c", "1", env=env) as worker:
            failed = bench.put("act/echo").id
            rejected = bench.put("act-async/reject").id
            bench.put("act/fine")
            bench.wait_for_letters(2)
            wait_until(lambda: bench.held() == 0, message="all is acknowledged")
            assert worker.terminate() == 0
        expected = 4 if report_retries else 2
        wait_until(lambda: len(sentry.events) >= expected, message="the events are there")
    told = [(event["exception"]["values"][-1]["type"], event["level"]) for event in sentry.events]
    assert sorted(told) == [("Reject", "error"), *[("RuntimeError", "error")] * (expected - 1)]
    assert {event["extra"]["message_id"] for event in sentry.events} == {failed, rejected}
    frames = sentry.events[0]["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["function"] in ("act", "act_async", "_raise")


def test_the_death_of_a_child_is_one_event(bench: Bench) -> None:
    with (
        sentry_server() as sentry,
        bench.worker("-Q", "work", "-P", "prefork", "-c", "1", env={"SENTRY_DSN": sentry.dsn}) as worker,
    ):
        sent = bench.put("act/kill").id
        bench.wait_for_letters(1)
        assert worker.terminate() == 0
        dead = wait_until(
            lambda: [event for event in sentry.events if event.get("extra", {}).get("message_id") == sent],
            message="the event is there",
        )
    assert [event["exception"]["values"][-1]["type"] for event in dead] == ["WorkerLostError"]
