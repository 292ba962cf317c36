"""A Redis that answers, but not as it is asked: a worker waits, says why, and goes on by itself."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from routemq import Router
from tests.ingest import CONTROLLER, ingest_process, ingesting, settings_for, wait_for_payloads
from tests.processes import RunningProcess, running, wait_until
from tests.servers import REPOSITORY, Mosquitto, Redis, Stack
from tests.workers import Bench

WORKER = ["celery", "-A", "routemq", "worker", "-Q", "work.raw", "-E", "-n", "refused@host"]
"""With all that Celery does by default, mingle, gossip and remote control too."""


@contextlib.contextmanager
def _worker(bench: Bench, *arguments: str, **env: str) -> Iterator[RunningProcess]:
    with running([*WORKER, *arguments], cwd=REPOSITORY, env=bench.environment() | env, fork=True) as process:
        yield process


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_a_worker_waits_for_a_redis_that_cannot_write_to_its_disk(
    own_store: Callable[..., Redis], key_prefix: str, pool: str
) -> None:
    store = own_store()
    bench = Bench(store=store, key_prefix=key_prefix)
    with _worker(bench, "-P", pool, "-c", "2") as worker:
        worker.wait_for_output("ready.")
        bench.put("raw/1")
        bench.wait_for_notes("raw", 1)
        store.break_disk()
        worker.wait_for_output("redis cannot write to its disk")
        with _worker(bench, "-P", pool, "-c", "2", "-n", "late@host") as late:
            late.wait_for_output("redis cannot write to its disk")
            # Longer than Celery and kombu take to ask for a sign of life for the first time.
            refused = time.monotonic()
            wait_until(lambda: time.monotonic() > refused + 13, message="it lasts")
            assert worker.is_alive
            assert late.is_alive
            for process in (worker, late):
                told = [line.split(maxsplit=2)[2] for line in process.output().splitlines() if "its disk" in line]
                assert sorted(told) == sorted(set(told)), "each part of it says so once"
                # With gevent, Celery's greenlet for remote control ends with one, and another begins.
                assert pool == "gevent" or "Traceback" not in process.output()
            store.mend_disk()
            late.wait_for_output("ready.")
            bench.put("raw/2")
            bench.put("raw/3")
            bench.wait_for_notes("raw", 3)
            assert late.terminate() == 0
        assert worker.terminate() == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_starts_while_redis_is_full_drains_it(
    own_store: Callable[..., Redis], key_prefix: str, pool: str
) -> None:
    store = own_store(options={"maxmemory": "4mb", "maxmemory-policy": "noeviction"})
    bench = Bench(store=store, key_prefix=key_prefix)
    for number in range(20):
        bench.put(f"raw/{number}")
    with store.client() as client:
        with contextlib.suppress(Exception):
            while True:
                client.rpush("filler", b"x" * 20_000)
        with _worker(bench, "-P", pool, "-c", "2") as worker:
            wait_until(lambda: bench.waiting("work.raw") == 0, message="the queue is empty")
            wait_until(lambda: bench.held() == 0, message="all are acknowledged")
            # What an orchestrator asks, and an operator.
            ping = ["celery", "-A", "routemq", "inspect", "ping", "-d", "refused@host", "--timeout", "60"]
            with running(ping, cwd=REPOSITORY, env=bench.environment(), fork=True) as inspect:
                assert inspect.wait() == 0
            client.delete("filler")
            assert "Traceback" not in worker.output()
            assert worker.terminate() == 0


@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_a_user_who_may_not_ask_whether_redis_is_there_may_work(
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
    transport: str,
) -> None:
    store = own_store()
    with store.client() as client:
        forbidden = ["-info", "-config", "-client|id", "-client|tracking"]
        forbidden += ["-ping"] if transport == "routemq" else []
        client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", *forbidden)
    bench = Bench(store=store, key_prefix=key_prefix)
    url = f"redis://limited:secret@{store.host}:{store.port}/0"
    with _worker(bench, "-P", "threads", REDIS_URL=url, ROUTEMQ_TRANSPORT=transport) as worker:
        worker.wait_for_output("ready.")
        bench.put("raw/1")
        bench.wait_for_notes("raw", 1)
        assert worker.terminate() == 0
        assert "Traceback" not in worker.output()
    stack = Stack(name="limited", broker=mosquitto_server, store=store)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, redis_url=url)
    router = Router()
    router.on(f"{topic_prefix}/a", CONTROLLER, queue="taken")
    with ingesting(settings, router) as ingest:
        mosquitto_server.publish(f"{topic_prefix}/a", "1")
        wait_for_payloads(store, key_prefix, "taken", 1)
        assert ingest.health.pause is None


def test_ingest_says_what_it_may_not_ask_and_goes_on_when_it_may(
    mosquitto_server: Mosquitto,
    own_store: Callable[..., Redis],
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = own_store()
    stack = Stack(name="limited", broker=mosquitto_server, store=store)
    url = f"redis://limited:secret@{store.host}:{store.port}/0"
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, redis_url=url)
    router = Router()
    router.on(f"{topic_prefix}/a", CONTROLLER, queue="taken", shared=True)
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-hset")
        with ingesting(settings, router, ready=False) as ingest:
            told = f"redis does not say who is in the group {group_name}: redis does not allow this to the user"
            wait_until(lambda: told in caplog.text, message="it is told")
            client.execute_command("ACL", "SETUSER", "limited", "+hset")
            wait_until(lambda: ingest.ready, message="it goes on")
    assert caplog.text.count(told) == 1


def test_a_worker_waits_until_its_user_may_work(own_store: Callable[..., Redis], key_prefix: str) -> None:
    store = own_store()
    bench = Bench(store=store, key_prefix=key_prefix)
    url = f"redis://limited:secret@{store.host}:{store.port}/0"
    # kombu asks which scripts Redis knows, again and again.
    may = ["on", ">secret", "~*", "&*", "+@all", "-script|exists"]
    with store.client() as client, _worker(bench, "-P", "threads", REDIS_URL=url) as worker:
        worker.wait_for_output("redis refuses the user or password in REDIS_URL")
        client.execute_command("ACL", "SETUSER", "limited", *may, "resetchannels")
        worker.wait_for_output(f"to the channel '{key_prefix}/0.celery")
        client.execute_command("ACL", "SETUSER", "limited", *may, "-eval")
        worker.wait_for_output("run the 'eval' command")
        client.execute_command("ACL", "SETUSER", "limited", *may, "-evalsha")
        worker.wait_for_output("run the 'evalsha' command")
        client.execute_command("ACL", "SETUSER", "limited", *may)
        bench.put("raw/1")
        bench.wait_for_notes("raw", 1)
        client.execute_command("ACL", "SETUSER", "limited", *may, "-evalsha")
        worker.wait_for_output("no messages are handed out")
        client.execute_command("ACL", "SETUSER", "limited", *may)
        bench.put("raw/2")
        bench.wait_for_notes("raw", 2)
        # Refused beside a fetch, which has its own answer.
        client.execute_command("ACL", "SETUSER", "limited", *may, "-client|caching")
        worker.wait_for_output("this Redis does not tell of new messages")
        bench.put("raw/3")
        bench.wait_for_notes("raw", 3)
        assert worker.terminate() == 0
        assert "Traceback" not in worker.output()


def test_a_redis_cluster_is_refused_in_one_line(
    mosquitto_server: Mosquitto, own_store: Callable[..., Redis], key_prefix: str, group_name: str, tmp_path: Path
) -> None:
    store = own_store(options={"cluster-enabled": "yes"})
    line = "REDIS_URL=(a Redis Cluster, which is not supported) cannot be used"
    stack = Stack(name="cluster", broker=mosquitto_server, store=store)
    env = stack.environment(key_prefix=key_prefix, group=group_name)
    with ingest_process(tmp_path, "router.on('a', 'no:where')", env, "--index", "0", ready=False) as ingest:
        assert ingest.wait() == 2
        assert ingest.output().count(line) == 1
        assert "Traceback" not in ingest.output()
    with _worker(Bench(store=store, key_prefix=key_prefix), "-P", "threads") as worker:
        assert worker.wait() == 1
        assert worker.output().count(line) == 1
        assert "Traceback" not in worker.output()
    with running(["routemq", "dlq", "stats"], cwd=REPOSITORY, env=env) as command:
        assert command.wait() == 1
        assert command.output().startswith("Error: redis is a Redis Cluster, which is not supported")
        assert command.output().count("\n") == 1
