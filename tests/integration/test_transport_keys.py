"""Workers beside another application's key under one of our names: they name it, serve the rest, and go on."""

from pathlib import Path

import pytest

from tests.processes import RunningProcess, wait_until
from tests.servers import Redis
from tests.transport import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")


def wait_for_word(worker: RunningProcess, key: str) -> None:
    wait_until(lambda: f"{key!r} is a string" in worker.output(), message=f"{key} is named")


def test_a_worker_serves_its_other_queues_and_names_the_key(bench: Bench) -> None:
    keys = [f"{bench.key_prefix}{name}" for name in ("second", "routemq:delayed:first", "routemq:started")]
    with bench.worker("-P", "threads", "-c", "3") as worker, bench.client() as client:
        for key in keys:
            client.set(key, "theirs")
        # Several fetches, each of which meets the keys.
        for number in range(10):
            bench.put(number)
            bench.wait_for([number])
        for key in keys:
            wait_for_word(worker, key)
            assert worker.output().count(repr(key)) < 5
        client.delete(*keys)
        bench.put("theirs no more", queue="second")
        bench.wait_for(["theirs no more"])
        bench.wait_until_nothing_is_held()
    assert bench.names("started") == sorted([*range(10), "theirs no more"], key=str)


@pytest.mark.parametrize("name", ["unacked", "unacked_index"])
def test_a_worker_waits_where_it_cannot_record_what_it_takes(bench: Bench, name: str) -> None:
    key = bench.key_prefix + name
    with bench.worker("-P", "solo") as worker, bench.client() as client:
        client.set(key, "theirs")
        bench.put(*range(100))
        wait_for_word(worker, key)
        assert bench.waiting() == 100
        client.delete(key)
        bench.wait_for(list(range(100)))
        bench.wait_until_nothing_is_held()
    assert bench.names() == sorted(range(100), key=str)


def test_what_is_done_while_it_cannot_be_said_is_not_run_again(bench: Bench) -> None:
    key, aside = f"{bench.key_prefix}unacked", f"{bench.key_prefix}aside"
    with bench.worker("-P", "threads", "-c", "3") as worker, bench.client() as client:
        bench.put("long", task="wait")
        bench.wait_for(["long"], event="started")
        client.rename(key, aside)
        client.set(key, "theirs")
        bench.release()
        bench.wait_for(["long"])
        wait_for_word(worker, key)
        client.rename(aside, key)
        bench.put("next")
        bench.wait_for(["next"])
        bench.wait_until_nothing_is_held()
    assert bench.names("started") == ["long", "next"]
