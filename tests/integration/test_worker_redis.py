"""Redis may be away, be killed and come back: a worker recovers by itself and loses nothing."""

import re
from collections.abc import Callable

import orjson
import pytest

from tests.gate import Gate
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench


def _everywhere(bench: Bench) -> set[str]:
    """Return the ids of all messages that were run, or that Redis has."""
    found = {note["id"] for note in bench.notes("slept")}
    with bench.store.client() as client:
        items = client.lrange(bench.keys.queue("slow"), 0, -1) + client.zrange(bench.keys.delayed("slow"), 0, -1)
        held = [orjson.loads(record)[0] for record in client.hvals(bench.keys.unacked)]
    return found | {item["headers"]["id"] for item in [*map(orjson.loads, items), *held]}


@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_a_worker_outlives_the_death_of_redis(own_store: Callable[..., Redis], key_prefix: str, transport: str) -> None:
    store = own_store("redis", append_only=True)
    bench = Bench(store=store, key_prefix=key_prefix)
    env = {"ROUTEMQ_VISIBILITY_TIMEOUT_S": "10", "ROUTEMQ_TRANSPORT": transport}
    with bench.worker("-Q", "slow", "-c", "2", "-P", "prefork", env=env) as worker:
        sent = {bench.put("slow/sleep", "0.2").id for _ in range(12)}
        bench.wait_for_notes("slept", 3)
        store.kill()
        store.start()
        later = {bench.put("slow/sleep", "0.01").id for _ in range(3)}
        if transport == "routemq":
            assert _everywhere(bench) == sent | later

        # What was in hand when Redis died is Celery's own transport's to bring back, after its visibility timeout.
        expected = sent | later if transport == "routemq" else later
        wait_until(
            lambda: expected <= {note["id"] for note in bench.notes("slept")}, message="the messages are run",
        )  # fmt: skip
        assert worker.terminate() == 0
        assert _everywhere(bench) >= expected


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(own_store: Callable[..., Redis], key_prefix: str) -> None:
    store = own_store("redis", append_only=True)
    bench = Bench(store=store, key_prefix=key_prefix)
    message = bench.put("raw/early", b"x")
    store.stop()
    with bench.worker("-Q", "work", "-P", "threads", ready=False) as worker:
        worker.wait_for_output("Cannot connect to redis://")
        store.start()
        (note,) = bench.wait_for_notes("raw", 1)

    assert note["id"] == message.id
    with store.client() as client:
        assert orjson.loads(client.lindex(f"{key_prefix}notes", 0))["what"] == "raw"


def test_a_redis_that_is_too_old_ends_the_worker_also_when_it_comes_later(redis_server: Redis, key_prefix: str) -> None:
    old = Gate(redis_server, change=lambda data: re.sub(rb"redis_version:\d", b"redis_version:6", data))
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    env = {"REDIS_URL": f"redis://127.0.0.1:{old.port}/0"}
    line = "REDIS_URL=(Redis 6."
    try:
        with bench.worker("-Q", "slow", "-P", "threads", env=env, ready=False) as worker:
            worker.wait_for_output("Cannot connect to redis://")
            old.open()
            assert worker.wait() == 1
            late = worker.output()
        with bench.worker("-Q", "slow", "-P", "threads", env=env, ready=False) as worker:
            assert worker.wait() == 1
            early = worker.output()
    finally:
        old.close()
    assert late.count(line) == early.count(line) == 1
    assert "Redis 7.0 or newer, or Valkey" in late
    assert "Traceback" not in late + early
    assert "ready." not in late
