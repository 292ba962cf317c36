"""Shared routes with `$share` or without: over a restart of the broker, and as the group grows, shrinks and changes."""

import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from routemq import Router
from routemq.errors import RouteError
from routemq.queues import Keys
from routemq.settings import Settings
from tests.ingest import (
    CONTROLLER,
    FakeBroker,
    OldBroker,
    ingest_process,
    ingesting,
    numbered,
    payloads,
    settings_for,
    wait_for_payloads,
)
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import MqttBroker, Redis, Stack

MakeBroker = Callable[..., MqttBroker]


@pytest.fixture
def router(topic_prefix: str) -> Router:
    router = Router()
    router.on(f"{topic_prefix}/{{d}}/data", CONTROLLER, shared=True, queue="data")
    return router


@pytest.fixture
def make_settings(stack: Stack, key_prefix: str, group_name: str) -> Callable[..., Settings]:
    def make(share: str, host: str = "a") -> Settings:
        return settings_for(
            stack, key_prefix=key_prefix, group=group_name, mqtt_share=share, mqtt_client_id=f"{group_name}-{host}"
        )

    return make


class Load:
    """Publishes one message after the other, with QoS 1, until it is stopped."""

    def __init__(self, port: int, topic: str) -> None:
        self.sent: list[bytes] = []
        self._peer, self._topic, self._stop = Peer(port).connect(), topic, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            payload = str(len(self.sent)).encode()
            self._peer.publish(self._topic, payload)
            self.sent.append(payload)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._peer.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        after = len(self.sent) + count
        wait_until(lambda: len(self.sent) >= after, message=f"{count} more were published")


def filters(worker: object) -> tuple[list[str], list[str]]:
    """What a worker is subscribed to: in its own session, and in the group's."""
    own, exclusive = worker._own, worker._exclusive  # type: ignore[attr-defined]
    return sorted(own.filters.granted), sorted(exclusive.filters.granted)


@contextlib.contextmanager
def stopped(process: object) -> Iterator[None]:
    """Hold a process, so that it notices nothing of what happens meanwhile."""
    process.signal(signal.SIGSTOP)  # type: ignore[attr-defined]
    yield
    process.signal(signal.SIGCONT)  # type: ignore[attr-defined]


def test_what_comes_between_a_restart_of_the_broker_and_our_subscribe_is_kept(
    own_broker: MakeBroker, redis_server: Redis, tmp_path: Path, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    """With `$share` Mosquitto forgets who is in the group, and all of it would be lost."""
    broker = own_broker()
    environment = Stack(name="own", broker=broker, store=redis_server).environment(
        key_prefix=key_prefix, group=group_name
    )
    route = f'router.on("{topic_prefix}/{{d}}/data", "{CONTROLLER}", shared=True, queue="data")'
    with ingest_process(tmp_path, route, environment) as process:
        with stopped(process):
            broker.restart()
            peer = Peer(broker.port).connect()
            peer.publish_all(f"{topic_prefix}/d/data", numbered(100))
            peer.close()
        found = wait_for_payloads(redis_server, key_prefix, "data", 100)
        assert "MQTT SESSION LOST" not in process.output()
    assert found == [line.encode() for line in numbered(100)]


def test_a_group_that_grows_and_shrinks_moves_its_routes_and_loses_nothing(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    plain, shared = f"{topic_prefix}/+/data", f"$share/{group_name}/{topic_prefix}/+/data"
    with ingesting(make_settings("auto"), router) as first, Load(stack.broker.port, f"{topic_prefix}/d/data") as load:
        assert filters(first) == ([], [plain])
        load.wait_for_more(20)
        draining = make_settings("auto", "b").model_copy(update={"ingest_drain_on_exit": True})
        with ingesting(draining, router) as second:
            assert filters(second)[0] == [shared]
            wait_until(lambda: filters(first) == ([shared], []), message="the first shares too")
            load.wait_for_more(100)
            load.stop()
            wait_until(
                lambda: set(payloads(stack.store, key_prefix, "data")) == set(load.sent), message="all are queued"
            )
            taken = (first.statistics.received, second.statistics.received)
        wait_until(lambda: filters(first) == ([], [plain]), message="it has all again, alone")
        wait_until(lambda: first._own.is_idle, message="its own session is ended")
        stack.broker.publish(f"{topic_prefix}/d/data", "after")
        wait_until(lambda: b"after" in payloads(stack.store, key_prefix, "data"), message="it goes on")
    assert min(taken) > 20, "both had a part"
    counts = Counter(payloads(stack.store, key_prefix, "data"))
    assert counts[b"after"] == 1
    # In the moments in which both forms were subscribed to, a message comes twice.
    assert sum(count > 1 for count in counts.values()) < len(load.sent) / 10


@pytest.mark.parametrize(("before", "after"), [("always", "never"), ("never", "always")])
def test_a_change_of_the_setting_leaves_the_other_form_and_takes_along_what_waits_in_it(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, topic_prefix: str,
    before: str, after: str,
) -> None:  # fmt: skip
    topic = f"{topic_prefix}/d/data"
    with ingesting(make_settings(before), router):
        stack.broker.publish(topic, "1")
        wait_for_payloads(stack.store, key_prefix, "data", 1)
    for number in (2, 3):
        stack.broker.publish(topic, str(number))
    with ingesting(make_settings(after), router) as worker:
        wait_for_payloads(stack.store, key_prefix, "data", 3)
        wait_until(
            lambda: (worker._own if after == "never" else worker._exclusive).is_idle, message="the other is left"
        )
        stack.broker.publish(topic, "4")
        assert wait_for_payloads(stack.store, key_prefix, "data", 4) == [b"1", b"2", b"3", b"4"]
    assert len(payloads(stack.store, key_prefix, "data")) == 4


def test_with_never_one_process_has_all_and_another_takes_over(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, topic_prefix: str
) -> None:
    topic, plain = f"{topic_prefix}/d/data", [f"{topic_prefix}/+/data"]
    with (
        ingesting(make_settings("never"), router) as first,
        ingesting(make_settings("never", "b"), router) as second,
    ):
        assert (filters(first), filters(second)) == (([], plain), ([], []))
        for number in range(5):
            stack.broker.publish(topic, str(number))
        wait_for_payloads(stack.store, key_prefix, "data", 5)
        first.stop()
        wait_until(lambda: filters(second) == ([], plain), message="the second has all")
        stack.broker.publish(topic, "5")
        assert wait_for_payloads(stack.store, key_prefix, "data", 6) == [b"%d" % number for number in range(6)]


def test_who_knows_nothing_of_groups_is_counted_by_its_subscriptions(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    """So a release before this one, still running elsewhere, gets no second copy of each message beside it."""
    shared = f"$share/{group_name}/{topic_prefix}/+/data"
    with stack.store.client() as client:
        client.sadd(Keys(key_prefix).subscriptions(f"{group_name}-elsewhere-0"), shared)
        client.set(Keys(key_prefix).subscriptions("no-set"), "of another kind")
    with ingesting(make_settings("auto"), router) as worker:
        assert filters(worker) == ([shared], [])


def test_what_is_no_text_in_the_groups_keys_ends_nobody(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, group_name: str
) -> None:
    keys, settings = Keys(key_prefix), make_settings("auto")
    with stack.store.client() as client:
        client.hset(keys.ingest_group(group_name), b"\xff", f"{10**15} auto")
        client.set(keys.plain_holder(group_name), b"1 \xff", px=60_000)
        client.sadd(keys.subscriptions(f"{settings.client_id_base}-0"), b"\xff")
        with ingesting(settings, router, ready=False) as worker:
            wait_until(lambda: worker._group.holder == "\ufffd", message="the holder is waited for")
            client.delete(keys.plain_holder(group_name), keys.ingest_group(group_name))
            wait_until(lambda: worker.ready, message="ingest is ready")


def test_a_key_of_another_kind_under_the_groups_name_is_told(
    stack: Stack, router: Router, make_settings: Callable[..., Settings], key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    key = Keys(key_prefix).ingest_group(group_name)
    with stack.store.client() as client, ingesting(make_settings("auto"), router, ready=False) as worker:
        client.set(key, "of another application")
        wait_until(lambda: f"{key} is a string" in str(worker.health.trouble), message="it says which key it is")
        client.delete(key)
        wait_until(lambda: worker.ready, message="ingest is ready")


def test_a_broker_that_takes_share_for_a_level_is_found_out(
    mosquitto_server: MqttBroker, redis_server: Redis, router: Router, key_prefix: str, topic_prefix: str,
    group_name: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with OldBroker(mosquitto_server.port, refusal=b"\x20\x03\0\x84\0") as broker:
        broker.literal = True
        stack = Stack(name="old", broker=broker, store=redis_server)  # type: ignore[arg-type]
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
        with ingesting(settings, router, ready=False) as worker:
            wait_until(
                lambda: "no shared subscriptions: set MQTT_SHARE" in str(worker.health.trouble), message="it is told"
            )
        assert not worker.ready
        assert "NO SHARED SUBSCRIPTIONS" in caplog.text
        # A second process, so that sharing is wished for.
        with redis_server.client() as client:
            client.hset(Keys(key_prefix).ingest_group(group_name), "another", f"{10**14} auto")
        with ingesting(settings.model_copy(update={"mqtt_share": "auto"}), router) as worker:
            wait_until(lambda: filters(worker) == ([], [f"{topic_prefix}/+/data"]), message="one has all")
            mosquitto_server.publish(f"{topic_prefix}/d/data", "it comes")
            assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"it comes"]


def test_a_broker_that_says_that_it_has_no_shared_subscriptions_is_believed(
    redis_server: Redis, router: Router, key_prefix: str, group_name: str
) -> None:
    with FakeBroker(connack=b"\x20\x05\0\0\x02\x2a\0") as broker:
        stack = Stack(name="fake", broker=broker, store=redis_server)  # type: ignore[arg-type]
        settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
        with ingesting(settings, router, ready=False) as worker:
            wait_until(
                lambda: "no shared subscriptions: set MQTT_SHARE" in str(worker.health.trouble), message="it is told"
            )
        # A second process, so that sharing is wished for.
        with redis_server.client() as client:
            client.hset(Keys(key_prefix).ingest_group(group_name), "another", f"{10**14} auto")
        with ingesting(settings.model_copy(update={"mqtt_share": "auto"}), router):
            pass
        assert [body for kind, body in broker.received if kind == 0x82 and b"$share" in body] == []


def test_a_broker_that_lets_no_trial_through_is_taken_at_its_word(
    own_broker: MakeBroker, redis_server: Redis, router: Router, tmp_path: Path, key_prefix: str, topic_prefix: str,
    group_name: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    access = tmp_path / "access"
    access.write_text(f"topic readwrite {topic_prefix}/#\n", "utf-8")
    broker = own_broker(persistence=False, extra=f"acl_file {access}")
    stack = Stack(name="own", broker=broker, store=redis_server)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_protocol="3.1.1")
    with ingesting(settings, router):
        assert "not known whether the mqtt broker has shared subscriptions" in caplog.text
        broker.publish(f"{topic_prefix}/d/data", "it comes")
        assert wait_for_payloads(redis_server, key_prefix, "data", 1) == [b"it comes"]


def test_routes_of_one_filter_are_shared_or_refused(
    stack: Stack, make_settings: Callable[..., Settings], topic_prefix: str, group_name: str
) -> None:
    router = Router()
    router.on(f"{topic_prefix}/{{x}}", CONTROLLER, shared=True, name="all", queue="data")
    router.on(f"{topic_prefix}/{{y}}", CONTROLLER, name="one", queue="data")
    with ingesting(make_settings("auto"), router) as worker:
        assert filters(worker) == ([f"$share/{group_name}/{topic_prefix}/+"], [f"{topic_prefix}/+"])
    with (
        pytest.raises(RouteError, match=r"'all'.*without \$share it has the filter of the route 'one'"),
        ingesting(make_settings("never"), router),
    ):
        pass
