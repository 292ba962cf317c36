"""Our transport and Celery's own on the same queues, and what both make of strange messages."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Consumer, Queue
from routemq_transport.fetching import pace

from routemq.dead_letters import DeadLetters
from routemq.envelope import Envelope, TaskMessage
from routemq.queues import Keys
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis, TlsFiles, free_port
from tests.transport import Bench

SOLO = ("-P", "solo")
THREADS = ("-P", "threads", "-c", "3")
GEVENT = ("-P", "gevent", "-c", "3")
PREFORK = ("-P", "custom", "-c", "2")
OUR_PREFORK = {"CELERY_CUSTOM_WORKER_POOL": "routemq_tasks.upstream.prefork:RouteTaskPool"}


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")


def letters(bench: Bench) -> list[Any]:
    with bench.client() as client:
        return list(DeadLetters(client, Keys(bench.key_prefix)).letters())


def test_both_transports_share_a_queue_and_restore_each_others_messages(bench: Bench) -> None:
    quick = {
        "visibility_timeout": 2,
        "stock_visibility_timeout": 2,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    of_stock, of_ours = [f"s{number}" for number in range(4)], [f"o{number}" for number in range(4)]
    for transport, names in ("stock", of_stock), ("ours", of_ours):
        bench.put(*names, task="wait", queue="first" if transport == "ours" else "second")
        queue = "first" if transport == "ours" else "second"
        with bench.worker(*THREADS, transport=transport, queues=queue, **quick) as doomed:
            wait_until(lambda names=names: set(bench.names("started")) & set(names), message="one has started")
            wait_until(lambda: bench.held() in (4, 8), message="all are taken")
            doomed.kill_all()
    assert bench.held() == 8
    bench.release()
    with bench.client() as client:
        records = {tag: json.loads(record) for tag, record in client.hgetall(f"{bench.key_prefix}unacked").items()}
    assert all(exchange == "" and key in ("first", "second") for _, exchange, key in records.values())
    # Each restores what the other held.
    with bench.worker(*THREADS, transport="stock", queues="first", **quick):
        bench.wait_for(of_ours)
    with bench.worker(*THREADS, transport="ours", queues="second", **quick):
        bench.wait_for(of_stock)
        bench.wait_until_nothing_is_held()
    assert bench.names() == sorted([*of_ours, *of_stock])


def test_what_a_worker_with_celerys_own_transport_holds_is_left_to_it(bench: Bench) -> None:
    bench.put("slow", seconds=5)
    with bench.worker(*THREADS, transport="stock"):
        bench.wait_for(["slow"], event="started")
        with bench.worker(*THREADS, visibility_timeout=1):
            bench.wait_for(["slow"])
    assert bench.names("started") == ["slow"]


def test_what_is_no_message_is_buried_and_the_next_one_runs(bench: Bench) -> None:
    good = bench.item("good")
    message = json.loads(good)
    strange: list[bytes] = [
        b"not json",
        b"\xff\xfe\x00",
        b"",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"body": ' + b"9" * 1_000_000 + b"}",
        b"[]",
        b"null",
        json.dumps({key: value for key, value in message.items() if key != "properties"}).encode(),
        json.dumps(message | {"properties": []}).encode(),
        json.dumps(message | {"headers": "none"}).encode(),
        json.dumps(message | {"body": {}}).encode(),
        json.dumps(message | {"properties": {"body_encoding": "rot13", "delivery_info": {}}}).encode(),
    ]
    with bench.worker(*THREADS) as worker, bench.client() as client:
        client.lpush(f"{bench.key_prefix}first", *strange, good)
        bench.wait_for(["good"])
        wait_until(lambda: len(letters(bench)) == len(strange), message="all are buried")
        bench.wait_until_nothing_is_held()
        assert worker.is_alive
        store = DeadLetters(client, Keys(bench.key_prefix))
        assert {letter.reason for letter in letters(bench)} == {"malformed"}
        assert sorted(store.get(letter.id).raw for letter in letters(bench)) == sorted(strange)
    assert bench.names() == ["good"]


def test_a_message_that_was_delivered_twenty_times_is_dead(bench: Bench) -> None:
    own = TaskMessage(route="run", queue="first", envelope=Envelope(topic="t", payload=b"1")).encode()
    marked = b'{"routemq":[20,0],' + own[1:]
    alive = b'{"routemq":[19,0],' + bench.item("nineteen")[1:]
    with bench.worker(*THREADS), bench.client() as client:
        client.lpush(f"{bench.key_prefix}first", marked, alive)
        bench.wait_for(["nineteen"])
        (letter,) = wait_until(lambda: letters(bench), message="it is buried")
        assert (letter.reason, letter.route, letter.topic) == ("poison", "run", "t")
        bench.wait_until_nothing_is_held()


@pytest.mark.parametrize(
    ("pool", "task"),
    [(SOLO, "kill"), (THREADS, "kill"), (GEVENT, "kill"), (PREFORK, "kill-parent")],
    ids=["solo", "threads", "gevent", "prefork"],
)
def test_what_kills_whole_workers_runs_alone_and_is_buried(bench: Bench, pool: tuple[str, ...], task: str) -> None:
    neighbours = [f"n{number}" for number in range(3)]
    bench.put(*neighbours[:2])
    bench.put("poison", task=task)
    bench.put(neighbours[2])
    deaths = 0
    while not letters(bench):
        with bench.worker(*pool, visibility_timeout=1, env=OUR_PREFORK) as worker:
            wait_until(lambda worker=worker: not worker.is_alive or letters(bench), message="it dies")
            deaths += 0 if worker.is_alive else 1
        assert deaths <= 3
    # It is dead as soon as it has killed three, however soon it kills.
    assert deaths == 3
    bench.wait_for(neighbours)
    (letter,) = letters(bench)
    assert "3 workers were lost" in letter.message


@pytest.mark.parametrize("pool", [SOLO, THREADS, GEVENT, PREFORK], ids=["solo", "threads", "gevent", "prefork"])
@pytest.mark.parametrize("quick", [0, 3000])
def test_a_lost_worker_is_a_strike_for_what_it_ran_alone(bench: Bench, pool: tuple[str, ...], quick: int) -> None:
    slots = 1 if "-c" not in pool else int(pool[-1])
    names = [f"n{number}" for number in range(slots + 3)]
    if quick:
        bench.put(*range(quick), task="nothing")
    bench.put(*names, task="wait")
    with bench.client() as client, bench.worker(*pool, queues="first", env=OUR_PREFORK) as worker:
        bench.wait_for(names[:slots], event="started")
        wait_until(lambda: bench.held() > slots, message="it holds more than it runs")
        # Among quick ones they are taken for quick and marked before they start, which is soon taken back.
        started = f"{bench.key_prefix}routemq:started"
        wait_until(lambda: client.zcard(started) == slots, message="only what runs is marked")
        worker.kill_all()
        bench.release()
    with bench.worker("-P", "solo", queues="second", visibility_timeout=1), bench.client() as client:
        wait_until(lambda: bench.held() == 0, message="all is given back")
        items = [json.loads(item) for item in client.lrange(f"{bench.key_prefix}first", 0, -1)]
    strikes = {json.loads(item["body"])[0][0]: item.get("routemq", [0, 0])[1] for item in items}
    assert {name: strikes.get(name) for name in names} == {name: int(name in names[:slots]) for name in names}


def test_a_start_is_told_after_redis_has_hung_up(bench: Bench, own_store: Callable[..., Redis]) -> None:
    bench = Bench(store=own_store(), key_prefix=bench.key_prefix, runs_path=bench.runs_path)
    started = f"{bench.key_prefix}routemq:started"
    with bench.client() as client, bench.worker("-P", "solo"):

        def tellers() -> set[str]:
            return {each["id"] for each in client.client_list() if each["cmd"] == "client|reply"}

        gone = wait_until(tellers, message="the worker can tell starts")
        for client_id in gone:
            client.client_kill_filter(_id=client_id)
        wait_until(lambda: tellers() - gone, message="it has noticed, though it had nothing to tell")
        bench.put("waits", task="wait")
        wait_until(lambda: client.zcard(started) == 1, message="the start is told")
        bench.release()
        bench.wait_until_nothing_is_held()
        assert not client.exists(started)


def consume(connection: Connection, queues: list[Queue], count: int, *, window: int, **options: Any) -> list[Any]:
    """Receive messages without a hub, as gevent's loop does."""
    received: list[Any] = []
    with Consumer(
        connection, queues, callbacks=[lambda _body, message: received.append(message)], **options
    ) as consumer:
        consumer.qos(prefetch_count=window)
        until = time.monotonic() + PATIENCE_S
        while len(received) < count and time.monotonic() < until:
            try:
                connection.drain_events(timeout=1)
            except (TimeoutError, Empty):
                continue
    return received


def test_a_consumer_without_an_event_loop_hub(bench: Bench) -> None:
    queue = Queue("plain", exchange="", routing_key="plain")
    with bench.connection() as connection:
        producer = connection.Producer()
        for number in range(5):
            producer.publish({"n": number}, routing_key="plain", priority=number)
        first, second, *_ = received = consume(connection, [queue], 3, window=3)
        assert [message.payload["n"] for message in received] == [0, 1, 2]
        first.ack()
        second.requeue()
        # Requeued, it comes back with the next fetch; the third, not acknowledged, stays with its channel.
        again = consume(connection, [queue], 3, window=4)
        assert sorted(message.payload["n"] for message in again) == [1, 3, 4]
        assert {message.delivery_info.get("redelivered") for message in again if message.payload["n"] == 1} == {True}
        for message in [*again, received[2]]:
            message.ack()
        # Without acknowledgement.
        producer.publish({"n": 9}, routing_key="plain")
        (unasked,) = consume(connection, [queue], 1, window=1, no_ack=True)
        assert unasked.payload == {"n": 9}
        # One at a time.
        producer.publish({"n": 10}, routing_key="plain")
        channel = connection.default_channel
        one = channel.basic_get("plain")
        assert one.payload == {"n": 10}
        wait_until(lambda: bench.held() == 1, message="it alone is held")
        channel.basic_ack(one.delivery_tag)
        assert channel.basic_get("plain") is None
    bench.wait_until_nothing_is_held()
    assert bench.waiting("plain") == 0


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_may_outlive_its_connection(bench: Bench, end: str) -> None:
    """As a task does, whose connection is lost while it runs."""
    bench.put("x")
    with bench.connection() as connection:
        (message,) = consume(connection, [Queue("first", exchange="", routing_key="first")], 1, window=1)
    getattr(message, end)()
    bench.wait_until_nothing_is_held()


def test_a_slow_consumer_wakes_for_a_retry_that_comes_due(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # It looks for nothing by itself.
    monkeypatch.setattr(pace, "IDLE_S", 10 * PATIENCE_S)
    queue = Queue("plain", exchange="", routing_key="plain")
    with bench.connection() as connection, bench.client() as client:
        seconds, microseconds = client.time()
        due = seconds + microseconds / 1e6 + 0.7
        client.zadd(f"{bench.key_prefix}routemq:delayed:plain", {bench.item("due", queue="plain"): due})
        (message,) = consume(connection, [queue], 1, window=1)
        assert time.time() >= due
        message.ack()


def test_password_and_tls(
    own_store: Callable[..., Redis], tls_files: TlsFiles, key_prefix: str, tmp_path: Path
) -> None:
    tls_port = free_port()
    store = own_store(
        password="open sesame",
        options={
            "tls-port": str(tls_port),
            "tls-cert-file": str(tls_files.server_cert),
            "tls-key-file": str(tls_files.server_key),
            "tls-ca-cert-file": str(tls_files.ca_certs),
            "tls-auth-clients": "no",
        },
    )
    bench = Bench(
        store=store,
        key_prefix=key_prefix,
        runs_path=tmp_path / "runs.jsonl",
        url=f"rediss://:open%20sesame@127.0.0.1:{tls_port}/0",
    )
    tls = json.dumps({"ssl_cert_reqs": "required", "ssl_ca_certs": str(tls_files.ca_certs)})
    names = [f"m{number}" for number in range(300)]
    bench.put(*names)
    with bench.worker(*THREADS, env={"BROKER_TLS": tls}):
        bench.wait_for(names)
        bench.put("idle")
        bench.wait_for(["idle"])
        bench.wait_until_nothing_is_held()
