"""A warm shutdown in the middle of a backlog: what runs is done, the rest is on its queue, and it ends soon."""

import time
from collections import Counter

import pytest

from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

ROUNDS = 4
MOST_S = 10.0
"""Celery's own pool waits for half a minute for a child whose result nobody reads."""


@pytest.mark.timeout(120)  # four workers are started and ended, which takes its time on a busy machine
def test_a_prefork_worker_ends_soon_and_runs_nothing_twice(redis_server: Redis, key_prefix: str) -> None:
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    sent: set[str] = set()
    for number in range(ROUNDS):
        sent |= {bench.put("slow/sleep", "0.01").id for _ in range(300)}
        with bench.worker("-Q", "slow", "-P", "prefork", "-c", "3") as worker:
            before = len(bench.notes("slept"))
            wait_until(lambda: len(bench.notes("slept")) > before + 20, message="some are done")  # noqa: B023
            began = time.monotonic()
            assert worker.terminate(timeout_s=60) == 0
            took_s = time.monotonic() - began
        assert took_s < MOST_S, f"round {number + 1}"
        assert bench.held() == 0
        runs = Counter(note["id"] for note in bench.notes("started"))
        assert set(runs.values()) == {1}
        assert sorted(runs) == sorted(note["id"] for note in bench.notes("slept"))
        assert bench.totals()["slow/sleep"].done == len(runs)
        assert len(runs) + bench.waiting("slow") == len(sent)
        assert bench.waiting("slow")
