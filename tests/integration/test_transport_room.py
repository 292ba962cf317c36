"""How much real workers take beside what they have in hand."""

from pathlib import Path

import pytest
from routemq_transport.fetching.fetcher import MOST_BYTES

from tests.processes import wait_until
from tests.servers import Redis
from tests.transport import Bench

THREADS = ("-P", "threads", "-c", "4")
LARGE_BYTES = 1_400_000


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")


def put_large(bench: Bench, *whats: object, size_bytes: int) -> None:
    """Put messages of this size, whose tasks wait."""
    items = [bench.item(what, task="wait") for what in whats]
    with bench.client() as client:
        for item in items:
            client.lpush(
                f"{bench.key_prefix}first", item.replace(b'"argsrepr": ""', b'"argsrepr": "%*d"' % (size_bytes, 0))
            )


def put_struck(bench: Bench, what: str, *, task: str = "run", seconds: float = 0.0) -> None:
    """Put what has ended two processes."""
    item = bench.item(what, task=task, seconds=seconds)
    with bench.client() as client:
        client.lpush(f"{bench.key_prefix}first", b'{"routemq":[2,2],' + item[1:])


def test_what_runs_alone_idles_no_slot_once_another_has_taken_it(bench: Bench) -> None:
    with bench.worker(*THREADS) as busy:
        bench.put("long", task="wait")
        bench.wait_for(["long"], event="started")
        with bench.worker(*THREADS, queues="first"):
            put_struck(bench, "struck", seconds=1.5)
            bench.wait_for(["struck"], event="started")
            # The other worker runs it, alone; the one with the long task goes on.
            bench.put(*range(10))
            bench.wait_for(range(10))
            ended_at = {run.what: run.at for run in bench.runs()}
            assert min(ended_at[number] for number in range(10)) < ended_at.get("struck", float("inf"))
        assert busy.is_alive
        bench.release()
        bench.wait_for(["struck", "long"])


def test_what_runs_alone_idles_a_busy_workers_slots_only_for_a_moment(bench: Bench) -> None:
    with bench.worker(*THREADS):
        bench.put("long", task="wait")
        bench.wait_for(["long"], event="started")
        put_struck(bench, "struck")
        bench.put(*range(200), seconds=0.05)
        bench.wait_for(range(200))
        assert "struck" not in bench.names("started")
        bench.release()
        bench.wait_for(["struck"])
        bench.wait_until_nothing_is_held()
    started_at = {run.what: run.at for run in bench.runs("started")}
    ended_at = {run.what: run.at for run in bench.runs()}
    assert started_at["struck"] >= ended_at["long"]


def test_what_runs_alone_gets_its_turn_on_a_busy_queue(bench: Bench) -> None:
    with bench.worker(*THREADS):
        bench.put(*range(100), seconds=0.05)
        put_struck(bench, "struck")
        bench.put(*range(100, 1000), seconds=0.05)
        bench.wait_for(["struck"])
        assert bench.waiting() > 0
        spans = {run.what: run.at for run in bench.runs("started")}
        (ended,) = (run.at for run in bench.runs() if run.what == "struck")
        assert not [what for what, at in spans.items() if spans["struck"] < at < ended]
        with bench.client() as client:
            client.delete(f"{bench.key_prefix}first")


def test_a_worker_prefetches_so_many_bytes_and_no_more(bench: Bench) -> None:
    put_large(bench, *range(40), size_bytes=LARGE_BYTES)
    with bench.worker(*THREADS, env={"PREFETCH": "64"}):
        wait_until(lambda: len(bench.runs("started")) == 4, message="every slot has one")
        wait_until(lambda: bench.held() >= MOST_BYTES // LARGE_BYTES - 1, message="some are prefetched")
        assert bench.held() <= MOST_BYTES // LARGE_BYTES
        bench.release()
        wait_until(lambda: len(bench.runs()) == 40, message="all are run")
        # What is larger than all of it goes through, also beside a long task.
        Path(f"{bench.runs_path}.released").unlink()
        bench.put("long", task="wait")
        bench.wait_for(["long"], event="started")
        put_large(bench, "larger", "largest", size_bytes=MOST_BYTES + 1000)
        bench.put(1, 2, 3, task="wait")
        wait_until(lambda: len(bench.runs("started")) == 44, message="no slot is idle")
        bench.release()
        wait_until(lambda: len(bench.runs()) == 46, message="all are run")
        bench.wait_until_nothing_is_held()
