"""What becomes of each MQTT message: the exact list item, the right route, or a dead letter."""

import json
import logging

import pytest

from routemq import Router
from routemq.envelope import Envelope, TaskMessage
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from tests.ingest import CONTROLLER, FakeBroker, ingesting, payloads, queued, settings_for, wait_for_payloads
from tests.mqtt_peer import Peer
from tests.processes import wait_until
from tests.servers import Mosquitto, Redis, Stack


@pytest.fixture
def routes(topic_prefix: str) -> Router:
    router = Router()
    router.on(f"{topic_prefix}/{{device}}/data", CONTROLLER, shared=True, queue="data")
    router.on(f"{topic_prefix}/alerts/{{device}}", CONTROLLER, queue="alerts")
    router.on(f"{topic_prefix}/any/{{rest:path}}", CONTROLLER, shared=True, queue="any")
    return router


def dead_letters(store: Redis, key_prefix: str) -> list[tuple[dict[str, object], bytes]]:
    """Each dead letter's description and message, as they lie in Redis."""
    with store.client() as client:
        client.get("anything")
        found = []
        for key in client.scan_iter(f"{key_prefix}routemq:dlq:*entries*"):
            for letter_id, about in client.hgetall(key).items():
                raw = next(
                    client.hget(other, letter_id)
                    for other in client.scan_iter(f"{key_prefix}routemq:dlq:*raw*")
                    if client.hexists(other, letter_id)
                )
                found.append((json.loads(about), raw))
        return found


def test_a_message_becomes_exactly_this_list_item(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
        topic = f"{topic_prefix}/d1/data"
        stack.broker.publish(topic, '{"temperature": 21.5}')
        wait_for_payloads(stack.store, key_prefix, "data", 1)
    with stack.store.client() as client:
        (item,) = client.lrange(f"{key_prefix}data", 0, -1)
        totals = read_totals(client, Keys(key_prefix))
    message = TaskMessage.decode(item)
    assert (
        item
        == TaskMessage(
            id=message.id,
            route=f"{topic_prefix}/{{device}}/data",
            queue="data",
            envelope=Envelope(
                topic=topic, payload=b'{"temperature": 21.5}', qos=1, received_at=message.envelope.received_at
            ),
        ).encode()
    )
    assert totals[message.route].received == 1


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_keep_their_order_and_their_qos(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str, qos: int
) -> None:
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
        peer = Peer(stack.broker.port).connect()
        for number in range(200):
            peer.publish(f"{topic_prefix}/alerts/a", str(number), qos)
        peer.close()
        found = wait_for_payloads(stack.store, key_prefix, "alerts", 200)
    assert found == [str(number).encode() for number in range(200)]
    assert {message.envelope.qos for message in queued(stack.store, key_prefix, "alerts")} == {qos}


def test_odd_topics_and_payloads_arrive_byte_for_byte(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    binary = bytes(range(256)) * 1200
    odd = {
        "empty": b"",
        "binary": binary,
        "with space": b"1",
        "emoji \U0001f321": "\U0001f525".encode(),
        "quotes '\"\\": b"'\"\\",
        "percent %b %s": b"%b %d",
        "not-json": b"{",
        "/".join("l" * 150): b"deep",
    }
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
        peer = Peer(stack.broker.port).connect()
        for level, payload in odd.items():
            peer.publish(f"{topic_prefix}/any/{level}", payload)
        peer.close()
        wait_for_payloads(stack.store, key_prefix, "any", len(odd))
    found = {message.envelope.topic: message.envelope.payload for message in queued(stack.store, key_prefix, "any")}
    assert found == {f"{topic_prefix}/any/{level}": payload for level, payload in odd.items()}


def test_topics_that_some_brokers_refuse_are_nothing_special(
    redis_server: Redis, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    # Mosquitto hangs up on a publisher that uses control characters or more than 200 levels.
    odd = [f"{topic_prefix}/any/line\nfeed", f"{topic_prefix}/any/{'/'.join('l' * 1000)}", f"{topic_prefix}/any/\ufeff"]
    with FakeBroker() as broker:
        stack = Stack(name="fake", broker=broker, store=redis_server)  # type: ignore[arg-type]
        with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
            number = broker.identifiers[f"$share/{group_name}/{topic_prefix}/any/#"]
            for mid, topic in enumerate(odd, start=1):
                broker.publish(topic.encode(), b"", mid=mid, identifiers=(number,))
            wait_until(lambda: broker.pubacks == [1, 2, 3], message="all are acknowledged")
    assert [message.envelope.topic for message in queued(redis_server, key_prefix, "any")] == odd


def test_mqtt_5_properties_travel_along(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
        peer = Peer(stack.broker.port).connect()
        peer.publish(
            f"{topic_prefix}/d1/data",
            "x",
            ContentType="text/plain",
            ResponseTopic="answers/1",
            CorrelationData=b"\xff\0",
            UserProperty=[("a", "1"), ("a", "2")],
        )
        peer.close()
        wait_for_payloads(stack.store, key_prefix, "data", 1)
    envelope = queued(stack.store, key_prefix, "data")[0].envelope
    assert (envelope.content_type, envelope.response_topic) == ("text/plain", "answers/1")
    assert envelope.correlation_data == b"\xff\0"
    assert envelope.user_properties == (("a", "1"), ("a", "2"))


def test_a_retained_message_comes_once_however_often_ingest_starts(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    stack.broker.publish(f"{topic_prefix}/alerts/a", "kept", retain=True)
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name)
    for last in ("first", "second"):
        with ingesting(settings, routes):
            stack.broker.publish(f"{topic_prefix}/alerts/b", last)
            wait_until(
                lambda last=last: last.encode() in payloads(stack.store, key_prefix, "alerts"),
                message=f"{last} is there",
            )
    found = queued(stack.store, key_prefix, "alerts")
    assert [message.envelope.payload for message in found] == [b"kept", b"first", b"second"]
    assert [message.envelope.retain for message in found] == [True, False, False]


def test_overlapping_routes_each_get_their_own_copy(
    stack: Stack, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    router = Router()
    router.on(f"{topic_prefix}/+/state", CONTROLLER, shared=True, queue="wide")
    router.on(f"{topic_prefix}/door/state", CONTROLLER, shared=True, queue="narrow")
    router.on(f"{topic_prefix}/#", CONTROLLER, queue="everything")
    router.on(f"{topic_prefix}/door/+", CONTROLLER, queue="door")
    with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), router):
        stack.broker.publish(f"{topic_prefix}/door/state", "open")
        stack.broker.publish(f"{topic_prefix}/window/state", "shut")
        wait_for_payloads(stack.store, key_prefix, "wide", 2)
        wait_for_payloads(stack.store, key_prefix, "everything", 2)
        wait_for_payloads(stack.store, key_prefix, "door", 1)
        wait_for_payloads(stack.store, key_prefix, "narrow", 1)
    assert sorted(payloads(stack.store, key_prefix, "wide")) == [b"open", b"shut"]
    assert payloads(stack.store, key_prefix, "narrow") == [b"open"]
    assert sorted(payloads(stack.store, key_prefix, "everything")) == [b"open", b"shut"]
    assert payloads(stack.store, key_prefix, "door") == [b"open"]


def test_a_payload_over_the_limit_is_dead_and_the_next_message_goes_on(
    stack: Stack, routes: Router, key_prefix: str, topic_prefix: str, group_name: str
) -> None:
    settings = settings_for(stack, key_prefix=key_prefix, group=group_name, ingest_max_payload_bytes=1000)
    large = b"\xfe" * 1001
    with ingesting(settings, routes):
        stack.broker.publish(f"{topic_prefix}/d1/data", large)
        stack.broker.publish(f"{topic_prefix}/d1/data", b"x" * 1000)
        assert wait_for_payloads(stack.store, key_prefix, "data", 1) == [b"x" * 1000]
        wait_until(lambda: dead_letters(stack.store, key_prefix), message="there is a dead letter")
    ((about, raw),) = dead_letters(stack.store, key_prefix)
    assert about["reason"] == "too_large"
    assert "INGEST_MAX_PAYLOAD_BYTES" in str(about["message"])
    assert large_in(raw) == large


def large_in(raw: bytes) -> bytes:
    item = raw if raw.startswith(b"{") else json.dumps(json.loads(raw)[0]).encode()
    return TaskMessage.decode(item).envelope.payload


def test_what_no_broker_should_send_is_dead_byte_for_byte_and_acknowledged(
    redis_server: Redis, routes: Router, key_prefix: str, topic_prefix: str, group_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    with FakeBroker() as broker:
        stack = Stack(name="fake", broker=broker, store=redis_server)  # type: ignore[arg-type]
        with ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), routes):
            shared = broker.identifiers[f"$share/{group_name}/{topic_prefix}/+/data"]
            wild = broker.identifiers[f"$share/{group_name}/{topic_prefix}/any/#"]
            broker.publish(b"\xff\xfe/data", b"bytes \xff", mid=1, identifiers=(shared,))
            broker.publish(b"gone/topic", b"no route", mid=2, identifiers=(4711,))
            broker.publish(b"none", b"no number", mid=3, identifiers=())
            broker.publish(b"both", b"for two", mid=4, identifiers=(shared, wild))
            wait_until(lambda: broker.pubacks == [1, 2, 3, 4], message="all are acknowledged in order")
    assert payloads(redis_server, key_prefix, "data") == [b"for two"]
    assert payloads(redis_server, key_prefix, "any") == [b"for two"]
    letters = {large_in(raw): (about["reason"], raw) for about, raw in dead_letters(redis_server, key_prefix)}
    assert {payload: reason for payload, (reason, _) in letters.items()} == {
        b"bytes \xff": "malformed",
        b"no route": "unroutable",
        b"no number": "unroutable",
    }
    raw = letters[b"bytes \xff"][1]
    item = raw if raw.startswith(b"{") else json.dumps(json.loads(raw)[0]).encode()
    assert TaskMessage.decode(item).envelope.topic_bytes == b"\xff\xfe/data"
    assert "bytes \\xff" not in caplog.text


@pytest.mark.parametrize("hook", ["returns_text", "leaves", "hangs"])
def test_no_redaction_hook_ends_ingest(
    redis_server: Redis,
    mosquitto_server: Mosquitto,
    routes: Router,
    key_prefix: str,
    topic_prefix: str,
    group_name: str,
    hook: str,
) -> None:
    stack = Stack(name="mosquitto+redis", broker=mosquitto_server, store=redis_server)
    settings = settings_for(
        stack, key_prefix=key_prefix, group=group_name, ingest_max_payload_bytes=30,
        dlq_redact_hook=f"tests.applications.hooks:{hook}",
    )  # fmt: skip
    with ingesting(settings, routes):
        for number in range(3):
            stack.broker.publish(f"{topic_prefix}/d{number}/data", f"what-nobody-may-see and more of it {number}")
        stack.broker.publish(f"{topic_prefix}/d9/data", "small")
        wait_for_payloads(redis_server, key_prefix, "data", 1)
    letters = dead_letters(redis_server, key_prefix)
    assert [about["redacted"] for about, _ in letters] == [["payload"]] * 3
    kept = [TaskMessage.decode(raw).envelope.payload for _, raw in letters]
    assert all(b"DLQ_REDACT_HOOK" in payload and b"what-nobody" not in payload for payload in kept)
