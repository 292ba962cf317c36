"""A controller's `client.publish`: over MQTT, from the worker, confirmed before the message counts as done."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from routemq_tasks.client import MessageClient
from routemq_tasks.publisher import Publication, Publisher

from routemq.errors import PublishError
from routemq.mqtt_wire import packet
from routemq.settings import Settings
from tests.ingest import FakeBroker, OldBroker
from tests.mqtt_peer import Peer
from tests.processes import many_open_files, no_more_threads, wait_until
from tests.servers import HOST, MqttBroker, Redis, Stack, TlsFiles
from tests.workers import Bench

MakeBroker = Callable[..., MqttBroker]
ACCESS_LIST = "topic readwrite open/#\ntopic read closed/#\n"


@contextlib.contextmanager
def publishing(broker: MqttBroker | FakeBroker | OldBroker) -> Iterator[Publisher]:
    """The publisher of a process that uses this broker; it needs no Redis."""
    publisher = Publisher(Settings(_env_file=None, mqtt_broker=HOST, mqtt_port=broker.port))  # type: ignore[call-arg]
    try:
        yield publisher
    finally:
        publisher.close()


def publish(publisher: Publisher, topic: str, payload: str | bytes = "x", *, qos: int = 1, retain: bool = False) -> str:
    """Publish as a run of its own; return why it failed, or nothing."""
    client = MessageClient(publisher)
    try:
        client.publish(topic, payload, qos, retain)
        client.confirm()
    except PublishError as exc:
        client.abandon()
        return exc.problem
    return ""


def puback(mid: bytes, code: int) -> bytes:
    return packet(0x40, mid + bytes((code, 0)))


def test_answers_arrive_and_the_message_is_done(stack: Stack, key_prefix: str) -> None:
    bench = Bench(store=stack.store, key_prefix=key_prefix)
    env = stack.environment(key_prefix=key_prefix)
    peer = Peer(stack.broker.port).connect()
    with (
        contextlib.closing(peer),
        bench.worker("-Q", "answer", "-P", "prefork", "-c", "2", env=env) as worker,
    ):
        peer.subscribe(f"{key_prefix}/answers/+", qos=1)
        for number in range(20):
            bench.put(f"answer/d{number}", f'{{"n": {number}}}')
        bench.wait_for_notes("answered", 20)
        wait_until(lambda: len(peer.messages) == 20, message="each answer arrived once")
        assert worker.terminate() == 0

    assert {message.topic.rpartition("/")[2]: orjson.loads(message.payload) for message in peer.messages} == {
        f"d{number}": {"to": f"d{number}", "was": {"n": number}} for number in range(20)
    }
    assert bench.totals()["answer/{device}"].done == 20


@pytest.mark.parametrize("first", ["answer", "answer-async"])
def test_sync_and_async_controllers_share_a_connection_among_greenlets(
    stack: Stack, key_prefix: str, first: str
) -> None:
    bench = Bench(store=stack.store, key_prefix=key_prefix)
    env = stack.environment(key_prefix=key_prefix)
    peer = Peer(stack.broker.port).connect()
    with contextlib.closing(peer), bench.worker("-Q", "answer", "-P", "gevent", "-c", "8", env=env):
        peer.subscribe(f"{key_prefix}/answers/+", qos=1)
        bench.put(f"{first}/d", '{"n": 0}')
        wait_until(lambda: peer.messages, message="the first has answered")
        for number in range(20):
            bench.put(f"answer/d{number}", f'{{"n": {number}}}')
            bench.put(f"answer-async/d{number}", f'{{"n": {number}}}')
        wait_until(lambda: len(peer.messages) >= 61, message="each answer arrived once")
        wait_until(lambda: not bench.held(), message="all are done")
        assert not bench.letters()


def test_a_message_waits_for_the_broker_that_its_answer_needs(
    own_broker: MakeBroker, redis_server: Redis, key_prefix: str
) -> None:
    broker = own_broker("mosquitto", persistence=False)
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    env = {"MQTT_BROKER": broker.host, "MQTT_PORT": str(broker.port)}
    broker.stop()
    with bench.worker("-Q", "answer", "-P", "threads", env=env) as worker:
        bench.put("answer/d1", "1")
        bench.wait_for_notes("answered", 1)
        worker.wait_for_output("no connection to the MQTT broker")
        assert bench.held() == 1
        broker.start()
        wait_until(lambda: bench.held() == 0, message="the answer was confirmed")
        assert not bench.letters()


@pytest.mark.parametrize("qos", [1, 2])
def test_a_run_whose_publish_is_denied_has_failed(
    own_broker: MakeBroker, redis_server: Redis, tmp_path: Path, key_prefix: str, qos: int
) -> None:
    access = tmp_path / "access"
    access.write_text(ACCESS_LIST, encoding="utf-8")
    broker = own_broker(persistence=False, extra=f"acl_file {access}")
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    env = {"MQTT_BROKER": broker.host, "MQTT_PORT": str(broker.port)}
    with bench.worker("-Q", "answer", "-P", "solo", env=env):
        for topic in ("open/x", "closed/x"):
            bench.put("tell", orjson.dumps({"topic": topic, "qos": qos}))
        (letter,) = bench.wait_for_letters(1).values()
        wait_until(lambda: bench.totals()["tell"].done == 1, message="the other one is done")
    assert letter.reason == "failed"
    assert "publish to 'closed/x': the MQTT broker refused it: Not authorized" in str(letter.description)
    assert len(bench.notes("tell")) == 4


def test_a_code_says_whether_a_publish_failed_and_an_unknown_one_too() -> None:
    codes = {"nobody": 0x10, "quota": 0x97, "unknown": 0xC7, "fine": 0}
    with (
        FakeBroker(answer=lambda topic, _qos, mid: puback(mid, codes[topic])) as broker,
        publishing(broker) as publisher,
    ):
        found = {topic: publish(publisher, topic) for topic in codes}
        assert broker.connected == 1
    assert found == {
        "nobody": "",
        "quota": "the MQTT broker refused it: Quota exceeded",
        "unknown": "the MQTT broker refused it: reason code 0xC7",
        "fine": "",
    }


def test_limits_of_the_broker_are_kept_to_by_refusing_the_publish(own_broker: MakeBroker) -> None:
    broker = own_broker(persistence=False, extra="max_qos 1\nretain_available false\nmax_packet_size 1000")
    with publishing(broker) as publisher:
        assert publish(publisher, "t") == ""
        assert publish(publisher, "t", qos=2) == "the MQTT broker takes QoS 1 at most, not 2"
        assert publish(publisher, "t", retain=True) == "the MQTT broker keeps no retained messages"
        for qos, overhead in ((0, 7), (1, 9)):
            assert publish(publisher, "t", "x" * (1000 - overhead), qos=qos) == ""
            assert "1001 bytes, and the MQTT broker takes 1000" in publish(
                publisher, "t", "x" * (1001 - overhead), qos=qos
            )
        assert publish(publisher, "t") == ""


@pytest.mark.parametrize("goodbye", [b"\xe0\x01\x95", None], ids=["a code", "no word"])
def test_a_publish_that_ends_the_connection_fails_alone(goodbye: bytes | None) -> None:
    """What was in flight beside it is confirmed, and nothing of it is sent for ever."""
    with (
        FakeBroker(answer=lambda topic, _qos, mid: goodbye if topic == "bad" else packet(0x40, mid)) as broker,
        publishing(broker) as publisher,
    ):
        topics = [*(f"good/{number}" for number in range(10)), "bad", *(f"good/{number}" for number in range(10, 20))]
        clients = {topic: MessageClient(publisher) for topic in topics}
        for topic, client in clients.items():
            client.publish(topic, "x", qos=1)
        problems = {}
        for topic, client in clients.items():
            try:
                client.confirm()
            except PublishError as exc:
                problems[topic] = exc.problem
        sent = broker.topics.count("bad")
        assert publish(publisher, "good/later") == ""
        assert broker.topics.count("bad") == sent <= 3
    assert problems.keys() == {"bad"}
    assert "ends the connection over it" in problems["bad"]
    assert goodbye is None or "Packet too large" in problems["bad"]


def test_what_was_in_flight_when_the_connection_broke_is_sent_again_unless_its_run_has_failed() -> None:
    silent = ["wanted", "given up"]

    def answer(topic: str, _qos: int, mid: bytes) -> bytes:
        return b"" if topic in silent else packet(0x40, mid)

    with FakeBroker(answer=answer) as broker, publishing(broker) as publisher:
        wanted, given_up = MessageClient(publisher), MessageClient(publisher)
        wanted.publish("wanted", "x", qos=1)
        given_up.publish("given up", "x", qos=1)
        wait_until(lambda: broker.topics == ["wanted", "given up"], message="both were sent")
        given_up.abandon()
        silent.clear()
        broker.hang_up()
        wanted.confirm()
        assert publish(publisher, "later") == ""
        assert broker.topics == ["wanted", "given up", "wanted", "later"]


def test_no_more_are_in_flight_than_the_broker_takes() -> None:
    receive_maximum = b"\x20\x06\0\0\x03\x21\x00\x02"
    with FakeBroker(connack=receive_maximum, answer=lambda *_: b"") as broker, publishing(broker) as publisher:
        client = MessageClient(publisher)
        for number in range(5):
            client.publish(str(number), "x", qos=1)
        wait_until(lambda: broker.topics == ["0", "1"], message="two are in flight")
        with pytest.raises(PublishError, match="not confirmed in time; connected to"):
            publisher.wait(client._publications[2], deadline=time.monotonic() + 0.5)
        assert broker.topics == ["0", "1"]


def test_what_cannot_be_sent_at_all_is_the_failure_of_its_run_alone(mosquitto_server: MqttBroker) -> None:
    with publishing(mosquitto_server) as publisher:
        publication = Publication("t", b"x", 1, retain="yes")  # type: ignore[arg-type]
        publisher.publish(publication)
        assert publish(publisher, "t") == ""
        with pytest.raises(PublishError, match="it cannot be published: TypeError"):
            publisher.wait(publication, deadline=time.monotonic())


def test_a_broker_of_3_1_1_is_published_to(mosquitto_server: MqttBroker, topic_prefix: str) -> None:
    peer = Peer(mosquitto_server.port).connect()
    with contextlib.closing(peer), OldBroker(mosquitto_server.port, refusal=b"\x20\x02\0\x01") as old:
        peer.subscribe(f"{topic_prefix}/#", qos=2)
        with publishing(old) as publisher:
            for qos in (0, 1, 2):
                assert publish(publisher, f"{topic_prefix}/{qos}", qos=qos) == ""
            assert len(peer.wait_for(3)) == 3


def test_a_port_for_tls_is_told_as_such(own_broker: MakeBroker, tls_files: TlsFiles, monkeypatch: Any) -> None:
    monkeypatch.setattr("routemq_tasks.client.CONFIRMATION_TIMEOUT_S", 1.0)
    with publishing(own_broker(tls=tls_files, persistence=False)) as publisher:
        wait_until(lambda: "Then set MQTT_TLS_ENABLED=true" in publish(publisher, "t"), message="it is told")


def test_a_publisher_that_was_closed_opens_again_under_any_number(
    mosquitto_server: MqttBroker, topic_prefix: str
) -> None:
    """A worker's controllers may have a thousand connections; above 1023, `select` knows none."""
    with many_open_files(), publishing(mosquitto_server) as publisher:
        with no_more_threads(), pytest.raises(RuntimeError, match="thread"):
            publish(publisher, topic_prefix)
        for _ in range(2):
            assert publish(publisher, topic_prefix) == ""
            publisher.close()
