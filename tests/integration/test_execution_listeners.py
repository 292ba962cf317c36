"""Whoever listens to Celery, as Sentry and OpenTelemetry do, hears of failures; the log stays a line for each."""

import pytest

from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

POOLS = ("prefork", "solo", "threads")

LISTENERS = "tests.applications.listeners"
"""Named and not imported: it listens to every process that imports it."""


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=LISTENERS)


@pytest.mark.parametrize("pool", POOLS)
def test_a_failure_reaches_celerys_signals_and_its_log(bench: Bench, pool: str) -> None:
    with bench.worker("-Q", "work", "-P", pool, "-c", "2") as worker:
        sent = {kind: bench.put(f"act/{kind}").id for kind in ("value", "exit", "reject")}
        malformed = bench.put("raw/x", b"x", id="\N{BELL}").id
        bench.put_raw("work.raw", b"no message")
        bench.wait_for_letters(4)
        failures = {note["id"]: note for note in bench.wait_for_notes("failure", 3)}
        records = bench.wait_for_notes("record", 7)
        assert worker.terminate() == 0
        output = worker.output()
    assert malformed not in bench.letters()
    value, left, rejected = (failures[sent[kind]] for kind in ("value", "exit", "reject"))
    assert (value["error"], value["text"], value["einfo"]) == ("ValueError", "first line\nsecond line", True)
    assert value["frames"][-2:] == ["act", "act"]
    assert (left["error"], left["cause"]) == ("ControllerFailedError", "SystemExit(3)")
    assert rejected["error"] == "Reject"
    retries = [(note["error"], note["when"]) for note in bench.notes("retry") if note["id"] == sent["value"]]
    assert retries == [("ValueError", 0.1), ("ValueError", 0.2)]
    traced = [note for note in records if note["logger"] == "celery.app.trace"]
    assert sorted(note["error"] for note in traced) == ["ControllerFailedError", "Reject", "ValueError"]
    ours = [note for note in records if note["logger"] == "routemq_tasks.outcomes"]
    # The same exception, so that a tracker takes both for one.
    assert {(note["error"], note["text"]) for note in traced} < {(note["error"], note["text"]) for note in ours}
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if " ERROR " in line]) == 4


def test_the_death_of_a_child_reaches_them_too(bench: Bench) -> None:
    with bench.worker("-Q", "work", "-P", "prefork", "-c", "2"):
        sent = bench.put("act/kill").id
        bench.wait_for_letters(1)
        (failure,) = wait_until(lambda: bench.notes("failure"), message="it is told")
    assert (failure["id"], failure["error"], failure["einfo"]) == (sent, "WorkerLostError", True)
    assert [(note["id"], note["error"]) for note in bench.notes("retry")] == [(sent, "WorkerLostError")] * 2


def test_celerys_own_report_is_written_at_debug(bench: Bench) -> None:
    with bench.worker("-Q", "work", "-P", "threads", "-l", "DEBUG") as worker:
        bench.put("act/reject")
        bench.wait_for_letters(1)
        worker.wait_for_output("raised unexpected: Reject('not for us')")
