"""`celery inspect`, `control`, `purge` and `migrate` where RouteMQ's own answer differs from Celery's."""

import json
import time
from collections.abc import Iterator

import pytest

from routemq.queues import lists_of
from tests.processes import RunningProcess, wait_until
from tests.servers import Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.fixture
def worker(bench: Bench) -> Iterator[RunningProcess]:
    with bench.worker("-Q", "work,slow", "-P", "threads") as process:
        yield process


def wait_later(bench: Bench, topic: str, in_s: float, name: str | None = None) -> str:
    """Put a message where a retry waits."""
    message = bench.message(topic)
    with bench.store.client() as client:
        client.zadd(bench.keys.delayed(name or message.queue), {message.encode(): time.time() + in_s})
    return message.id


def test_what_waits_in_redis_is_scheduled(bench: Bench, worker: RunningProcess) -> None:
    later, soon = wait_later(bench, "raw/1", 900), wait_later(bench, "slow/async", 600)
    urgent = wait_later(bench, "raw/2", 300, lists_of("work.raw")[3])
    elsewhere = wait_later(bench, "answer/x", 300)
    with bench.store.client() as client:
        client.set(bench.keys.delayed("work.act"), "of another application")

    found = bench.ask("scheduled")
    assert [each["request"]["id"] for each in found] == [urgent, soon, later]
    assert found[1]["request"]["name"] == "slow/async"
    assert "payload" not in json.dumps(found)
    assert f"left alone: the Redis key {bench.keys.delayed('work.act')!r} is a string" in worker.output()
    with bench.store.client() as client:
        strange = {b'{"headers":{"id":["%s"]}}' % later.encode(): 1, b"\xff" + later.encode(): 2, later.encode(): 3}
        client.zadd(bench.keys.delayed("work.raw"), strange)
    asked = bench.ask("query_task", ids=[later, elsewhere, "unknown"])
    assert {task_id: state for task_id, (state, _) in asked.items()} == {later: "scheduled"}


def test_running_messages_show_no_payload(bench: Bench, worker: RunningProcess) -> None:
    message = bench.put("slow/sleep", "1e02")
    bench.wait_for_notes("started", 1)

    (running,) = bench.ask("active")
    assert running["id"] == message.id
    assert running["args"] == "('slow/sleep', 4 bytes)"
    worker.kill_all()


def test_a_group_of_queues_is_named_by_its_head(bench: Bench, worker: RunningProcess) -> None:
    def consumed() -> set[str]:
        return {queue["name"] for queue in bench.ask("active_queues")}

    work = {queue for queue in bench.router.queues if queue.startswith("work")}
    assert consumed() == work | {"slow"}
    bench.ask("cancel_consumer", queue="work")
    wait_until(lambda: consumed() == {"slow"}, message="none of them is consumed")
    bench.ask("add_consumer", queue="work")
    wait_until(lambda: consumed() == work | {"slow"}, message="all of them are consumed")
    message = bench.put("raw/1")
    assert [note["id"] for note in bench.wait_for_notes("raw", 1)] == [message.id]
    for command in ("add_consumer", "cancel_consumer"):
        assert "no route uses the queue 'wor'" in bench.ask(command, queue="wor")["error"]
        assert "the name of a queue is empty" in bench.ask(command, queue="")["error"]
    assert consumed() == work | {"slow"}


def test_purge_takes_a_group_of_queues_and_no_empty_one(bench: Bench) -> None:
    for topic in ("raw/1", "again", "answer/x"):
        bench.put(topic)
    wait_later(bench, "raw/2", 600)

    refused = bench.celery("purge", "-f", "-Q", "")
    unknown = bench.celery("purge", "-f", "-Q", "wor")
    assert (refused.returncode, unknown.returncode) == (1, 1)
    assert "the name of a queue is empty" in refused.stderr
    assert "no route uses the queue 'wor'" in unknown.stderr
    assert bench.waiting("answer") == bench.waiting("work.raw") == 1

    purged = bench.celery("purge", "-f", "-Q", "work", "-X", "work.again")
    assert "Purged 2 messages from 6 known task queues" in purged.stdout
    assert (bench.waiting("answer"), bench.waiting("work.again"), bench.waiting("work.raw")) == (1, 1, 0)


@pytest.mark.parametrize("copies", [True, False], ids=["copy", "move"])
def test_migrate_takes_what_waits_too(bench: Bench, valkey_server: Redis, copies: bool) -> None:
    there = Bench(store=valkey_server, key_prefix=bench.key_prefix)
    sent = {bench.put("raw/1").id, bench.put("again").id}
    sent |= {wait_later(bench, "raw/2", 600), wait_later(bench, "raw/3", 600, lists_of("work.raw")[2])}
    env = {"ROUTEMQ_TASKS": "tests.applications.own_tasks"}
    bench.celery("call", "own.plain", "--countdown", "60", **env)

    options = ["-t", "3", *([] if copies else ["-a"])]
    ended = bench.celery("migrate", bench.store.url, there.store.url, *options, **env)

    assert ended.returncode == 0
    assert "Migrating task 5/5" in ended.stdout
    assert "Redis is away" not in ended.stderr
    with there.store.client() as client:
        items = [item for queue in ("work.raw", "work.again") for item in client.lrange(there.keys.queue(queue), 0, -1)]
        assert {json.loads(item)["headers"]["id"] for item in items} == sent
        # What Celery has given a time waits for it there as well.
        assert client.zcard(there.keys.delayed("routemq")) == 1
    wait_until(lambda: bench.held() == 0, message="nothing is held")
    assert bench.waiting("work.raw") == (2 if copies else 0)


def test_a_limit_of_a_routes_rate_holds(bench: Bench, worker: RunningProcess) -> None:
    bench.ask("rate_limit", task_name="raw/{rest:path}", rate_limit="2/s")
    sent = {bench.put(f"raw/{number}").id for number in range(4)}

    ran = bench.wait_for_notes("raw", 4)
    assert {note["id"] for note in ran} == sent
    # Not 1.5 s: a run begins when a thread has time for it.
    assert ran[-1]["at"] - ran[0]["at"] > 0.5
    wait_until(lambda: bench.held() == 0, message="all of them are acknowledged")
