"""A pool that grows with what its queues need, and shrinks after it."""

import contextlib
from collections.abc import Iterator

import pytest

from routemq.discovery import load_router
from routemq.metrics.presence import ProcessReport, read_processes
from tests.processes import RunningProcess, wait_until
from tests.servers import Redis
from tests.workers import Bench

APPLICATION = "tests.applications.pausing"
SCALING = {
    "WORKER_AUTO_SCALE": "true", "WORKER_MIN_COUNT": "1", "WORKER_MAX_COUNT": "8",
    # Celery's own variable, for how long a pool stays as it is when less is needed.
    "AUTOSCALE_KEEPALIVE": "3",
}  # fmt: skip


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=APPLICATION, router=load_router(APPLICATION))


def reports(bench: Bench) -> dict[str, ProcessReport]:
    with bench.store.client() as client:
        return {report.name: report for report in read_processes(client, bench.keys).live("worker")}


@contextlib.contextmanager
def scaling(bench: Bench, name: str, *arguments: str) -> Iterator[RunningProcess]:
    with bench.worker("-Q", "alone", "-n", name, *arguments, env=SCALING) as worker:
        wait_until(lambda: name in reports(bench), message="it reports itself")
        yield worker


def test_a_pool_grows_with_a_burst_and_shrinks_after_it_and_no_run_is_ended(bench: Bench) -> None:
    with scaling(bench, "one@here") as worker:
        assert (reports(bench)["one@here"].hands, reports(bench)["one@here"].details["most"]) == (1, 8)
        for number in range(3):
            bench.put(f"alone/{number}", "0.25")
        bench.wait_for_notes("alone", 3)
        # Twenty times what one hand can do: 20 a second would take five hands.
        bench.put_many([f"alone/{number}" for number in range(3, 103)], "0.25")
        wait_until(lambda: reports(bench)["one@here"].hands >= 3, message="it grows")
        assert "Scaling up" in worker.output()
        bench.wait_for_notes("alone", 103)
        # Now and then something runs while it shrinks.
        for number in range(103, 109):
            bench.put(f"alone/{number}", "1")
        wait_until(lambda: reports(bench)["one@here"].hands == 1, message="it shrinks")
        wait_until(lambda: bench.totals()["alone"].done == 109, message="all is done")
        assert len(bench.notes("alone")) == 109
        assert worker.terminate() == 0
    assert not bench.letters()


def test_two_workers_of_a_queue_share_what_it_needs(bench: Bench) -> None:
    with scaling(bench, "one@here"), scaling(bench, "two@here"):
        wait_until(lambda: len(reports(bench)) == 2, message="both report themselves")
        # Of a second each, 45 within ten seconds want five hands of both together, not of each.
        bench.put_many([f"alone/{number}" for number in range(45)], "1")
        most: dict[str, int] = {"one@here": 0, "two@here": 0}

        def all_done() -> bool:
            for name, report in reports(bench).items():
                most[name] = max(most[name], report.hands)
            return bench.totals().get("alone") is not None and bench.totals()["alone"].done == 45

        wait_until(all_done, message="all is done")
    assert min(most.values()) > 1
    assert max(most.values()) < 8
    assert len(bench.notes("alone")) == 45


def test_a_worker_that_may_have_no_hand_by_hand_has_one(bench: Bench) -> None:
    """`celery worker --autoscale=10` leaves the least number at zero."""
    with bench.worker("-Q", "alone", "--autoscale=2"):
        bench.put("alone/1", "0")
        bench.wait_for_notes("alone", 1)
