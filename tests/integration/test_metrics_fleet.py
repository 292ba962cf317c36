"""What is read of a fleet that runs."""

from collections.abc import Callable

import pytest
import redis

from routemq import Router
from routemq.metrics import fleet
from routemq.metrics.fleet import FleetReading, read_fleet
from routemq.queues import Keys
from tests.ingest import CONTROLLER, ingesting, settings_for
from tests.processes import wait_until
from tests.servers import Redis, Stack
from tests.workers import Bench

SLOW = "slow"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def read(bench: Bench, *queues: str) -> FleetReading:
    with bench.store.client() as client:
        return read_fleet(client, bench.keys, queues=queues, routes=bench.router.routes, group="g")


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_worker_tells_what_it_serves_with_how_many_hands_and_what_it_holds(
    bench: Bench, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench.worker("-Q", SLOW, "-P", pool, "-c", "2", "-n", f"{pool}@here"):
        (worker,) = wait_until(lambda: read(bench, SLOW).processes.live("worker"), message="it reports itself")
        wait_until(lambda: read(bench, SLOW).queues[SLOW].concurrency == (1 if pool == "solo" else 2))
        assert worker.name == f"{pool}@here"
        assert worker.queues == (SLOW,)
        assert worker.memory_bytes > 10_000_000
        assert abs(worker.clock_ahead_s) < 60
        bench.put_many(["slow/held"] * 3)
        # Each is counted by itself: what is taken meanwhile may be counted twice.
        held = wait_until(
            lambda: (found := read(bench, SLOW).queues[SLOW]).held and found.queued == 3 and found,
            message="they are taken",
        )
        assert held.workers == (f"{pool}@here",)
        wait_until(lambda: read(bench, SLOW).processes.live("worker")[0].running >= 1, message="it tells what runs")
        wait_until(lambda: read(bench).processes.live("worker")[0].problem is None, message="nothing is wrong")
        # More than can be read: as the workers say.
        monkeypatch.setattr(fleet, "_MOST_HELD", 0)
        assert read(bench, SLOW).queues[SLOW].held > 0
        bench.release()


def test_a_worker_that_ends_says_goodbye_and_one_that_is_killed_is_missed(bench: Bench) -> None:
    with bench.worker("-Q", SLOW, "-P", "threads", "-n", "one@here") as worker:
        wait_until(lambda: read(bench).processes.live("worker"), message="it reports itself")
        worker.terminate()
        assert read(bench).processes.reports == ()
    with bench.worker("-Q", SLOW, "-P", "threads", "-n", "two@here") as worker:
        wait_until(lambda: read(bench).processes.live("worker"), message="it reports itself")
        worker.kill_all()
        wait_until(lambda: len(read(bench).processes.lost()) == 1, message="it is missed")
        assert read(bench, SLOW).queues[SLOW].workers == ()


def test_what_waits_is_read_beside_a_key_of_a_wrong_type(bench: Bench) -> None:
    for _ in range(2):
        bench.put("slow/sleep", "1")
    with bench.store.client() as client:
        client.set(bench.keys.delayed(SLOW), "another application's")
        client.set(bench.keys.queue("other"), "another application's")
    reading = read(bench, SLOW, "other")
    assert (reading.queues[SLOW].waiting, reading.queues[SLOW].delayed) == (2, 0)
    assert reading.queues[SLOW].queued == 2
    assert reading.blocked == 2
    assert reading.queues["other"].waiting == 0
    assert reading.server.policy == "noeviction"


def test_ingest_tells_that_it_is_there_and_who_holds_the_non_shared_routes(
    stack: Stack, key_prefix: str, group_name: str, topic_prefix: str, bench: Bench
) -> None:
    bench.router.on(f"{topic_prefix}/{{d}}", CONTROLLER, queue="alerts")
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    with ingesting(settings, bench.router) as ingest, stack.store.client() as client:

        def look() -> FleetReading:
            return read_fleet(client, Keys(key_prefix), queues=["alerts"], routes=[], group=group_name)

        (process,) = wait_until(lambda: look().processes.live("ingest"), message="it reports itself")
        assert (process.name, process.group) == (ingest.client_id, group_name)
        wait_until(lambda: look().processes.live("ingest")[0].problem is None, message="it tells that it is ready")
        assert look().lease_holder == ingest.client_id
    with stack.store.client() as client:
        assert look().processes.reports == ()


@pytest.mark.parametrize("command", ["zcard", "llen", "hlen", "hkeys"])
def test_what_the_user_may_not_count_does_not_look_empty(own_store: Callable[..., Redis], command: str) -> None:
    store = own_store()
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", f"-{command}")
    url = f"redis://limited:secret@{store.host}:{store.port}/0"
    router = Router()
    router.on("a", "no:where")
    with redis.Redis.from_url(url) as limited, pytest.raises(redis.exceptions.NoPermissionError, match=command):
        read_fleet(limited, Keys("k:"), queues=["a"], routes=router.routes, group="g")
