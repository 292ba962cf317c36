"""What ingest makes of its MQTT sessions: they are kept, missed when they are gone, and emptied before they end."""

import logging
from collections.abc import Callable, Iterator

import pytest

from routemq import Router
from routemq.queues import Keys
from routemq.settings import Settings
from tests.ingest import CONTROLLER, FakeBroker, ingesting, payloads, publish_packet, settings_for, wait_for_payloads
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import MqttBroker, Redis, Stack

MakeBroker = Callable[..., MqttBroker]
RESUMED = b"\x20\x03\1\0\0"


@pytest.fixture
def router(topic_prefix: str) -> Router:
    router = Router()
    router.on(f"{topic_prefix}/data", CONTROLLER, shared=True, queue="data")
    return router


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    with FakeBroker() as broker:
        yield broker


@pytest.fixture
def settings(broker: FakeBroker, redis_server: Redis, key_prefix: str, group_name: str) -> Settings:
    stack = Stack(name="fake", broker=broker, store=redis_server)  # type: ignore[arg-type]
    return settings_for(stack, key_prefix=key_prefix, group=group_name, ingest_drain_on_exit=True)


def test_a_drain_waits_for_a_broker_that_takes_its_time(
    broker: FakeBroker, settings: Settings, router: Router, redis_server: Redis, key_prefix: str, topic_prefix: str,
    group_name: str,
) -> None:  # fmt: skip
    topic = f"{topic_prefix}/data".encode()
    with ingesting(settings, router) as worker:
        number = broker.identifiers[f"$share/{group_name}/{topic_prefix}/data"]
        late = [publish_packet(topic, b"%d" % mid, mid=mid, identifiers=(number,)) for mid in (1, 2, 3)]
        # Longer than any quiet that one could wait for; then the next as the window is free again, and one that was
        # read from a store while a PING was answered.
        broker.before_pong = [(2.5, late[0]), (0.0, late[1]), (0.0, b""), (0.0, late[2])]
    assert payloads(redis_server, key_prefix, "data") == [b"1", b"2", b"3"]
    assert broker.pubacks == [1, 2, 3]
    # Session expiry interval 0.
    assert broker.received[-1] == (0xE0, b"\x00\x05\x11\x00\x00\x00\x00")
    assert worker.statistics.received == 3


@pytest.mark.parametrize("seen_by", ["the process that had it", "the next process"])
def test_a_session_that_is_gone_is_loud_and_counted(
    own_broker: MakeBroker, redis_server: Redis, router: Router, key_prefix: str, group_name: str,
    caplog: pytest.LogCaptureFixture, seen_by: str,
) -> None:  # fmt: skip
    broker = own_broker(persistence=False)
    stack = Stack(name="own", broker=broker, store=redis_server)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    with ingesting(settings, router) as worker:
        assert worker.statistics.sessions_lost == 0
        if seen_by == "the process that had it":
            # It knows by itself, whatever Redis remembers.
            with redis_server.client() as client:
                client.delete(Keys(key_prefix).subscriptions(f"{settings.client_id_base}-0"))
            broker.restart()
            wait_until(lambda: worker.statistics.sessions_lost == 1, message="it is counted")
    if seen_by == "the next process":
        broker.restart()
        with ingesting(settings, router) as worker:
            wait_until(lambda: worker.statistics.sessions_lost == 1, message="it is counted")
    (loss,) = [record for record in caplog.records if "MQTT SESSION LOST" in record.getMessage()]
    assert loss.levelno == logging.ERROR
    assert f"client_id={settings.client_id_base}-0" in loss.getMessage()


def test_a_session_that_was_ended_by_a_drain_is_not_missed(
    own_broker: MakeBroker, redis_server: Redis, router: Router, key_prefix: str, group_name: str
) -> None:
    stack = Stack(name="own", broker=own_broker(persistence=False), store=redis_server)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, ingest_drain_on_exit=True)
    for _ in range(2):
        with ingesting(settings, router) as worker:
            pass
        assert worker.statistics.sessions_lost == 0


def test_a_broker_that_keeps_sessions_for_less_time_is_told(
    broker: FakeBroker, settings: Settings, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    broker.connack = b"\x20\x08\0\0\x05\x11\x00\x00\x0e\x10"
    with ingesting(settings, router):
        pass
    assert "keeps the session of an absent client for 3600 s, not for MQTT_SESSION_EXPIRY_S=86400" in caplog.text


def test_a_filter_is_forgotten_only_when_the_broker_says_that_it_is_left(
    broker: FakeBroker, settings: Settings, router: Router, redis_server: Redis, key_prefix: str, topic_prefix: str,
    group_name: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    broker.connack, broker.leaving = RESUMED, 0x87
    old = f"$share/{group_name}/{topic_prefix}/old"
    key = Keys(key_prefix).subscriptions(f"{settings.client_id_base}-0")
    with redis_server.client() as client:
        client.sadd(key, old)
        for refused in (True, False):
            broker.leaving = 0x87 if refused else 0
            with ingesting(settings.model_copy(update={"ingest_drain_on_exit": False}), router):
                wait_until(lambda refused=refused: len(broker.left) == 2 - refused, message="it is to be left")
                if refused:
                    wait_until(lambda: "UNSUBSCRIBE REFUSED" in caplog.text, message="it is told")
                    assert client.sismember(key, old)
                else:
                    wait_until(lambda: not client.sismember(key, old), message="it is forgotten")
    assert broker.left == [old, old]


def test_what_is_to_be_left_is_known_as_soon_as_redis_is_there(
    broker: FakeBroker, router: Router, own_store: Callable[..., Redis], key_prefix: str, topic_prefix: str,
    group_name: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("routemq_ingest.filters._NOTE_AGAIN_S", 0.2)
    store = own_store(append_only=True)
    broker.connack = RESUMED
    settings = settings_for(
        Stack(name="fake", broker=broker, store=store),
        key_prefix=key_prefix,
        group=group_name,  # type: ignore[arg-type]
    )
    old = f"$share/{group_name}/{topic_prefix}/old"
    with store.client() as client:
        client.sadd(Keys(key_prefix).subscriptions(f"{settings.client_id_base}-0"), old)
    store.stop()
    with ingesting(settings, router, ready=False) as worker:
        wait_until(lambda: broker.identifiers, message="it is connected without Redis")
        store.start()
        wait_until(lambda: broker.left == [old], message="the old filter is left")
        wait_until(lambda: worker.ready, message="ingest is ready")
    assert wait_for_payloads(store, key_prefix, "data", 0) == []


@pytest.mark.parametrize("version", [4, 5])
def test_what_waits_in_a_session_that_asked_for_qos_2_is_taken(
    mosquitto_server: MqttBroker, redis_server: Redis, router: Router, key_prefix: str, group_name: str,
    topic_prefix: str, version: int,
) -> None:  # fmt: skip
    stack = Stack(name="mosquitto+redis", broker=mosquitto_server, store=redis_server)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, mqtt_receive_maximum=1,
                            mqtt_protocol="5" if version == 5 else "3.1.1")  # fmt: skip
    before = Peer(mosquitto_server.port, client_id=f"{settings.client_id_base}-0", version=version)
    before.connect(clean=version == 5, **({"SessionExpiryInterval": 3600} if version == 5 else {}))
    before.subscribe(f"$share/{group_name}/{topic_prefix}/data", qos=2)
    before.close()
    sender = Peer(mosquitto_server.port).connect()
    for number in range(3):
        sender.publish(f"{topic_prefix}/data", str(number), qos=2)
    sender.close()
    with ingesting(settings, router):
        # Each but the first comes when the broker has heard the end of the one before.
        assert wait_for_payloads(redis_server, key_prefix, "data", 3) == [b"0", b"1", b"2"]
