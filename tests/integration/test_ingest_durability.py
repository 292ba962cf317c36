"""Nothing that a publisher has a PUBACK for is lost: over stops, kills, a Redis that dies or is full, and a drain."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from routemq import Router
from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.queues import Keys
from tests.ingest import (
    CONTROLLER,
    FakeBroker,
    ingest_process,
    ingesting,
    numbered,
    payloads,
    settings_for,
    wait_for_payloads,
)
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import HOST, MqttBroker, Redis, Stack, find_program

MakeStore = Callable[..., Redis]
MESSAGES = 6000


@pytest.fixture
def routes(topic_prefix: str) -> str:
    return f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True, queue="data")'


@pytest.fixture
def router(topic_prefix: str) -> Router:
    router = Router()
    router.on(f"{topic_prefix}/{{d}}/data", CONTROLLER, shared=True, queue="data")
    return router


class Flood:
    """mosquitto_pub with a stream of QoS 1 messages; it ends when the broker has acknowledged all."""

    def __init__(self, broker: MqttBroker, topic: str, lines: list[str]) -> None:
        command = [find_program("mosquitto_pub"), "-V", "5", "-h", HOST, "-p", str(broker.port), "-q", "1"]
        self._process = subprocess.Popen([*command, "-t", topic, "-l"], stdin=subprocess.PIPE, encoding="utf-8")
        assert self._process.stdin is not None
        self._process.stdin.write("\n".join(lines) + "\n")
        self._process.stdin.close()

    def wait(self) -> None:
        assert self._process.wait() == 0


def length(store: Redis, key_prefix: str) -> int:
    with store.client() as client:
        return int(client.llen(Keys(key_prefix).queue("data")))


def test_what_comes_during_a_stop_is_there_after_the_next_start(
    stack: Stack, routes: str, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    with ingest_process(tmp_path, routes, environment) as process:
        stack.broker.publish(f"{topic_prefix}/d1/data", "before")
        wait_for_payloads(stack.store, key_prefix, "data", 1)
        assert process.terminate() == 0
        assert "Traceback" not in process.output()
    stack.broker.publish(f"{topic_prefix}/d1/data", "meanwhile")
    with ingest_process(tmp_path, routes, environment) as process:
        assert wait_for_payloads(stack.store, key_prefix, "data", 2) == [b"before", b"meanwhile"]
        assert "session=resumed" in process.output()


def test_sigkill_under_load_loses_nothing(
    stack: Stack, routes: str, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    sent = numbered(MESSAGES)
    with ingest_process(tmp_path, routes, environment) as process:
        flood = Flood(stack.broker, f"{topic_prefix}/d1/data", sent[:4000])
        wait_until(lambda: length(stack.store, key_prefix) > 200, message="the load is on")
        process.kill()
    rest = Flood(stack.broker, f"{topic_prefix}/d1/data", sent[4000:])
    with ingest_process(tmp_path, routes, environment):
        flood.wait()
        rest.wait()
        wait_until(
            lambda: set(payloads(stack.store, key_prefix, "data")) >= {line.encode() for line in sent},
            message="every message is on the queue",
        )
    # Only what was in flight at the kill comes twice.
    assert sum(Counter(payloads(stack.store, key_prefix, "data")).values()) - MESSAGES <= 2000


def test_redis_killed_and_restarted_under_load_loses_nothing(
    mosquitto_server: MqttBroker, own_store: MakeStore, router: Router, key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    store = own_store("redis", append_only=True)
    stack = Stack(name="own", broker=mosquitto_server, store=store)
    sent = numbered(MESSAGES)
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router) as worker:
        flood = Flood(mosquitto_server, f"{topic_prefix}/d1/data", sent[:4000])
        wait_until(lambda: worker.statistics.received > 200, message="the load is on")
        store.kill()
        rest = Flood(mosquitto_server, f"{topic_prefix}/d1/data", sent[4000:])
        wait_until(lambda: worker.pause, message="ingest has noticed")
        flood.wait()
        rest.wait()
        assert worker.statistics.received < MESSAGES
        store.start()
        wait_until(
            lambda: set(payloads(store, key_prefix, "data")) >= {line.encode() for line in sent},
            message="every message is on the queue",
        )
        assert worker.statistics.late_acks == 0


def test_a_full_redis_holds_ingest_up_and_memory_stays_flat(
    mosquitto_server: MqttBroker, own_store: MakeStore, routes: str, tmp_path: Path, key_prefix: str,
    topic_prefix: str, group_name: str,
) -> None:  # fmt: skip
    store = own_store("redis", options={"maxmemory": "6mb", "maxmemory-policy": "noeviction"})
    stack = Stack(name="own", broker=mosquitto_server, store=store)
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    environment |= {"MQTT_KEEPALIVE_S": "5"}
    sent = [f"{number:06d}" + "x" * 1500 for number in range(4000)]
    with ingest_process(tmp_path, routes, environment) as process:
        before_bytes = psutil.Process(process.pid).memory_info().rss
        flood = Flood(mosquitto_server, f"{topic_prefix}/d1/data", sent)
        process.wait_for_output("redis is full")
        flood.wait()
        held = length(store, key_prefix)
        assert 0 < held < len(sent)
        # Longer than one and a half times the keep alive: without pings the broker would have hung up.
        with pytest.raises(AssertionError, match="in vain"):
            wait_until(lambda: "mqtt connection lost" in process.output(), timeout_s=9)
        assert psutil.Process(process.pid).memory_info().rss - before_bytes < 20_000_000
        with store.client() as client:
            client.config_set("maxmemory", "0")
        process.wait_for_output("taking messages again")
        wait_until(lambda: length(store, key_prefix) >= len(sent), message="all are queued")
        assert "mqtt connection lost" not in process.output()
    assert payloads(store, key_prefix, "data") == [line.encode() for line in sent]


def test_a_long_queue_holds_ingest_up_until_workers_have_made_room(
    stack: Stack, router: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, ingest_max_queue_length=1000)
    with ingesting(settings, router) as worker:
        Flood(stack.broker, f"{topic_prefix}/d1/data", numbered(5000)).wait()
        wait_until(lambda: worker.pause, message="ingest is paused")
        assert "INGEST_MAX_QUEUE_LENGTH=1000: data" in str(worker.pause)
        assert 1000 < length(stack.store, key_prefix) <= 1500
        taken = 0
        with stack.store.client() as client:
            while taken < 5000:
                taken += len(client.rpop(f"{key_prefix}data", 500) or [])
                assert client.llen(f"{key_prefix}data") <= 1500
        assert taken == 5000
        wait_until(lambda: not worker.pause, message="messages flow again")


def test_what_waits_for_its_time_or_for_the_end_of_a_pause_is_part_of_its_queue(
    stack: Stack, router: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, ingest_max_queue_length=100)
    delayed = Keys(key_prefix).delayed("data")
    with stack.store.client() as client, ingesting(settings, router) as worker:
        client.zadd(delayed, {str(number): SET_ASIDE_S for number in range(100)})
        stack.broker.publish(f"{topic_prefix}/d1/data", "1")
        wait_until(lambda: "INGEST_MAX_QUEUE_LENGTH=100: data (101)" in str(worker.pause), message="ingest is paused")
        client.delete(delayed)
        wait_until(lambda: not worker.pause, message="messages flow again")


def test_redis_is_away_at_the_start_and_nothing_is_lost_meanwhile(
    mosquitto_server: MqttBroker, own_store: MakeStore, routes: str, tmp_path: Path, key_prefix: str,
    topic_prefix: str, group_name: str,
) -> None:  # fmt: skip
    store = own_store("redis")
    stack = Stack(name="own", broker=mosquitto_server, store=store)
    store.stop()
    environment = stack.environment(key_prefix=key_prefix, group=group_name) | {"MQTT_SHARE": "always"}
    with ingest_process(tmp_path, routes, environment, ready=False) as process:
        process.wait_for_output("redis is away")
        process.wait_for_output("subscribed filter=")
        mosquitto_server.publish(f"{topic_prefix}/d1/data", "early")
        assert "ingest is ready" not in process.output()
        store.start()
        process.wait_for_output("ingest is ready")
        assert wait_for_payloads(store, key_prefix, "data", 1) == [b"early"]
        assert process.terminate() == 0
        assert "Traceback" not in process.output()


def test_no_puback_before_redis_has_it_and_none_on_a_later_connection(
    own_store: MakeStore, router: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    store = own_store("redis")
    topic, topic_filter = f"{topic_prefix}/d1/data".encode(), f"$share/{group_name}/{topic_prefix}/+/data"
    with FakeBroker() as broker:
        stack = Stack(name="fake", broker=broker, store=store)  # type: ignore[arg-type]
        with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router) as worker:
            identifiers = (broker.identifiers[topic_filter],)
            store.kill()
            for mid in (1, 2, 3):
                broker.publish(topic, str(mid).encode(), mid=mid, identifiers=identifiers)
            wait_until(lambda: worker.pause, message="ingest has read and has no Redis")
            assert broker.pubacks == []
            store.start()
            wait_until(lambda: broker.pubacks == [1, 2, 3], message="they are acknowledged")

            store.kill()
            broker.publish(topic, b"4", mid=4, identifiers=identifiers)
            wait_until(lambda: worker.pause, message="ingest has read and has no Redis")
            broker.hang_up()
            wait_until(lambda: broker.connected == 2, message="ingest has connected again")
            store.start()
            wait_until(lambda: worker.statistics.received == 4 and worker.ready, message="it is in Redis")
            broker.publish(topic, b"5", mid=5, identifiers=identifiers)
            wait_until(lambda: broker.pubacks == [1, 2, 3, 5], message="only what came on this connection")
            assert worker.statistics.late_acks == 1
        assert payloads(store, key_prefix, "data")[-2:] == [b"4", b"5"]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_drain_takes_everything_along_and_ends_the_session(
    stack: Stack, routes: str, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str, protocol: str
) -> None:
    environment = stack.environment(key_prefix=key_prefix, group=group_name)
    environment |= {"INGEST_DRAIN_ON_EXIT": "true", "MQTT_PROTOCOL": protocol, "MQTT_CLIENT_ID": f"{group_name}-me"}
    environment |= {"MQTT_SHARE": "always"}
    environment |= {"MQTT_RECEIVE_MAXIMUM": "50"}
    with ingest_process(tmp_path, routes, environment) as process:
        Flood(stack.broker, f"{topic_prefix}/d1/data", numbered(3000)).wait()
        assert process.terminate() == 0
        assert "the session is ended" in process.output()
    assert length(stack.store, key_prefix) == 3000
    back = Peer(stack.broker.port, client_id=f"{group_name}-me-0", version=5 if protocol == "5" else 4)
    assert back.connect(clean=False).session_present is False
    back.close()


def test_a_session_that_fewer_processes_leave_behind_is_told_until_it_is_drained(
    redis_server: Redis,
    mosquitto_server: MqttBroker,
    routes: str,
    tmp_path: Path,
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
) -> None:
    stack = Stack(name="one", broker=mosquitto_server, store=redis_server)
    environment = stack.environment(key_prefix=key_prefix, group=group_name) | {"MQTT_SHARE": "always"}
    warning = "left its mqtt session behind"
    with ingest_process(tmp_path, routes, environment, "--workers", "2") as process:
        process.wait_for_output("ingest is ready processes=2")
        assert warning not in process.output()
    with ingest_process(tmp_path, routes, environment) as process:
        assert warning in process.output()
        assert "routemq ingest --index 1" in process.output()
        # The broker's word on who gets a message: some go to the process that is away.
        Flood(stack.broker, f"{topic_prefix}/d1/data", numbered(200)).wait()
        with ingest_process(tmp_path, routes, environment | {"INGEST_DRAIN_ON_EXIT": "true"}, "--index", "1") as extra:
            assert extra.terminate() == 0
        wait_for_payloads(stack.store, key_prefix, "data", 200)
    with ingest_process(tmp_path, routes, environment) as process:
        assert warning not in process.output()
