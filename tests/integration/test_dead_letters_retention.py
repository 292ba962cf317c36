"""A worker keeps the dead letters within their limits."""

from pathlib import Path

import pytest

from routemq.dead_letters import DeadLetters
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_full_route_is_not_consumed_until_there_is_room(bench: Bench, pool: str) -> None:
    with bench.store.client() as client, bench.worker("-Q", "work", "-P", pool, env={"DLQ_MAX_ENTRIES": "3"}) as worker:
        store = DeadLetters(client, bench.keys)
        for number in range(3):
            bench.put("act/reject", str(number))
        bench.wait_for_letters(3)
        worker.wait_for_output("queue work.act is not consumed any more")
        # Celery says so when its own thread has done it.
        worker.wait_for_output("Canceling queue work.act")
        waiting = bench.put("act/fine")
        bench.put("raw/x")
        bench.wait_for_notes("raw", 1)
        assert bench.waiting("work.act") == 1

        store.discard([store.page(limit=1).letters[0].id], actor="test")
        wait_until(lambda: waiting.id in {note["id"] for note in bench.notes("act")}, timeout_s=20)
        assert worker.terminate() == 0


def test_what_is_too_much_goes_to_the_archive(bench: Bench, tmp_path: Path) -> None:
    with bench.store.client() as client:
        store = DeadLetters(client, bench.keys)
        with bench.worker("-Q", "work", "-P", "threads") as worker:
            for number in range(12):
                bench.put("act/reject", str(number))
            bench.wait_for_letters(12)
            assert worker.terminate() == 0
        env = {"DLQ_MAX_ENTRIES": "10", "DLQ_ARCHIVE_DIR": str(tmp_path)}
        with bench.worker("-Q", "work", "-P", "threads", env=env) as worker:
            worker.wait_for_output("archived 3 dead letters")
            assert worker.terminate() == 0
        assert store.count() == 9
        (path,) = tmp_path.iterdir()
        assert len(path.read_text("utf-8").splitlines()) == 3
