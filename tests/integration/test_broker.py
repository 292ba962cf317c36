"""What ingest and its users expect of an MQTT broker: Mosquitto and the development broker pass the same tests.

Where Mosquitto 2.0 does less than the specification says, or the specification leaves the choice, the test names it and
asks the development broker alone.
"""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from paho.mqtt.packettypes import PacketTypes

from routemq.mqtt_wire import binary, packet
from tests.mqtt_peer import BareSocket, Peer, properties
from tests.processes import wait_until
from tests.servers import MqttBroker, find_program

MakePeer = Callable[..., Peer]

development_broker = pytest.mark.parametrize("mqtt_broker", ["embedded"], indirect=True)


@pytest.fixture
def peer(mqtt_broker: MqttBroker) -> Iterator[MakePeer]:
    """Make a client of the broker: `peer(client_id=…, version=…, manual_ack=…)`; it is gone after the test."""
    made: list[Peer] = []

    def make(**options: object) -> Peer:
        made.append(Peer(mqtt_broker.port, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def numbers(count: int, start: int = 0) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def packet_id(number: int) -> bytes:
    return number.to_bytes(2, "big")


def mosquitto_sub(broker: MqttBroker, *options: str) -> subprocess.Popen[str]:
    command = [find_program("mosquitto_sub"), "-h", broker.host, "-p", str(broker.port), "-W", "15", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


# Shared subscriptions


@pytest.mark.parametrize("version", [4, 5])
def test_a_share_group_gets_each_message_once_and_an_ordinary_subscriber_all(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    members = [peer(version=version).connect() for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/workers/{topic_prefix}/+") == 1
    watcher = peer(version=version).connect()
    watcher.subscribe(f"{topic_prefix}/#")
    peer().connect().publish_all(f"{topic_prefix}/data", numbers(300))
    wait_until(lambda: sum(len(member.messages) for member in members) >= 300, message="all 300 are there")
    for member in members:
        member.round_trip()
    assert sorted((payload for member in members for payload in member.payloads), key=int) == numbers(300)
    assert all(len(member.messages) > 50 for member in members)
    assert {message.topic for member in members for message in member.messages} == {f"{topic_prefix}/data"}
    assert watcher.wait_for(300) == numbers(300)


def test_two_share_groups_get_a_message_each(peer: MakePeer, topic_prefix: str) -> None:
    ours, theirs = peer().connect(), peer().connect()
    ours.subscribe(f"$share/ours/{topic_prefix}/data")
    theirs.subscribe(f"$share/theirs/{topic_prefix}/data")
    peer().connect().publish_all(f"{topic_prefix}/data", numbers(10))
    assert ours.wait_for(10) == theirs.wait_for(10) == numbers(10)


def test_a_share_group_of_foreign_clients(mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str) -> None:
    publisher = peer().connect()
    publisher.publish(f"{topic_prefix}/ready", "ready", retain=True)
    members = [
        mosquitto_sub(
            mqtt_broker, "-V", version, "-C", "6", "-t", f"$share/g/{topic_prefix}/x", "-t", f"{topic_prefix}/ready"
        )
        for version in ("5", "311")
    ]
    for member in members:
        assert member.stdout is not None
        assert member.stdout.readline() == "ready\n"
    publisher.publish_all(f"{topic_prefix}/x", numbers(10))
    received = [member.communicate(timeout=20)[0].split() for member in members]
    assert sorted(received[0] + received[1], key=int) == numbers(10)
    assert [member.returncode for member in members] == [0, 0]


def test_a_burst_to_one_member_that_takes_20_at_a_time_loses_nothing(
    mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str
) -> None:
    member = peer(manual_ack=True).connect(ReceiveMaximum=20)
    member.subscribe(f"$share/workers/{topic_prefix}")
    command = [find_program("mosquitto_pub"), "-h", mqtt_broker.host, "-p", str(mqtt_broker.port)]
    lines = "\n".join(numbers(2000))
    subprocess.run(
        [*command, "-q", "1", "-t", topic_prefix, "-l"], input=lines, encoding="utf-8", check=True, timeout=30
    )
    member.round_trip()
    assert member.payloads == numbers(20)
    acked = 0
    while acked < 2000:
        member.wait_for(acked + 1)
        for message in member.messages[acked:]:
            member.ack(message)
            acked += 1
    member.round_trip()
    assert member.payloads == numbers(2000)


@development_broker
def test_a_member_that_is_away_does_not_hold_up_the_group(peer: MakePeer, topic_prefix: str) -> None:
    """Mosquitto gives absent members their turn too: their share waits for them."""
    away = peer().connect(SessionExpiryInterval=300)
    away.subscribe(f"$share/workers/{topic_prefix}")
    here = peer().connect()
    here.subscribe(f"$share/workers/{topic_prefix}")
    away.cut()
    peer().connect().publish_all(topic_prefix, numbers(20))
    assert here.wait_for(20) == numbers(20)


def test_what_was_in_flight_to_a_member_waits_for_it_while_its_session_lives(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(f"$share/workers/{topic_prefix}")
    peer().connect().publish_all(topic_prefix, numbers(10))
    first.wait_for(10)
    second = peer().connect()
    second.subscribe(f"$share/workers/{topic_prefix}")
    first.cut()
    second.round_trip()
    assert second.payloads == []
    back = peer(client_id=first.client_id).connect(clean=False, SessionExpiryInterval=300)
    assert back.session_present
    assert back.wait_for(10) == numbers(10)
    assert all(message.dup for message in back.messages)


# Sessions


@pytest.mark.parametrize("version", [4, 5])
def test_a_session_gets_what_came_while_it_was_away(peer: MakePeer, topic_prefix: str, version: int) -> None:
    expiry = {"SessionExpiryInterval": 300} if version == 5 else {}
    first = peer(version=version).connect(clean=False, **expiry)
    assert first.session_present is False
    first.subscribe(topic_prefix)
    first.close()
    peer().connect().publish_all(topic_prefix, numbers(500))
    back = peer(client_id=first.client_id, version=version).connect(clean=False, **expiry)
    assert back.session_present is True
    assert back.wait_for(500) == numbers(500)
    back.close()
    fresh = peer(client_id=first.client_id, version=version).connect(clean=True)
    assert fresh.session_present is False
    peer().connect().publish(topic_prefix, "for nobody")
    fresh.round_trip()
    assert fresh.messages == []


@pytest.mark.parametrize("version", [4, 5])
def test_what_was_not_acknowledged_comes_again_in_order_as_duplicates_and_first(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    expiry = {"SessionExpiryInterval": 300} if version == 5 else {}
    first = peer(version=version, manual_ack=True).connect(clean=False, **expiry)
    first.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(10))
    first.wait_for(10)
    assert not any(message.dup for message in first.messages)
    for index in (0, 1, 4):
        first.ack(first.messages[index])
    first.round_trip()
    first.cut()
    publisher.publish_all(topic_prefix, numbers(3, start=10))
    back = peer(client_id=first.client_id, version=version).connect(clean=False, **expiry)
    assert back.wait_for(10) == ["2", "3", "5", "6", "7", "8", "9", "10", "11", "12"]
    assert [message.dup for message in back.messages] == [True] * 7 + [False] * 3
    sent_before = {message.payload: message.mid for message in first.messages}
    assert all(sent_before[message.payload] == message.mid for message in back.messages if message.dup)


def test_redelivery_keeps_to_a_smaller_receive_maximum(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(topic_prefix)
    peer().connect().publish_all(topic_prefix, numbers(30))
    first.wait_for(30)
    first.cut()
    back = peer(client_id=first.client_id, manual_ack=True).connect(
        clean=False, SessionExpiryInterval=300, ReceiveMaximum=7
    )
    for number in range(30):
        back.wait_for(number + 1)
        back.ack(back.messages[number])
    assert back.payloads == numbers(30)
    assert len({message.mid for message in back.messages}) == 30


def test_a_session_and_a_message_end_when_they_expire(peer: MakePeer, topic_prefix: str) -> None:
    short, long = peer().connect(SessionExpiryInterval=1), peer().connect(SessionExpiryInterval=300)
    short.subscribe(topic_prefix)
    long.subscribe(topic_prefix)
    short.close()
    long.close()
    publisher = peer().connect()
    publisher.publish(topic_prefix, "brief", MessageExpiryInterval=1)
    publisher.publish(topic_prefix, "lasting", MessageExpiryInterval=100)
    expired_at = time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > expired_at, message="both have expired")
    assert peer(client_id=short.client_id).connect(clean=False).session_present is False
    back = peer(client_id=long.client_id).connect(clean=False)
    assert back.session_present is True
    assert back.wait_for(1) == ["lasting"]
    left_s = back.messages[0].properties.MessageExpiryInterval  # type: ignore[union-attr]
    assert 90 < left_s < 100


def test_a_second_connection_takes_the_session_over(peer: MakePeer, topic_prefix: str) -> None:
    first = peer(manual_ack=True).connect(SessionExpiryInterval=300)
    first.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(5))
    first.wait_for(5)
    second = peer(client_id=first.client_id).connect(clean=False, SessionExpiryInterval=300)
    first.wait_for_end()
    assert second.session_present is True
    publisher.publish_all(topic_prefix, numbers(5, start=5))
    assert second.wait_for(10) == numbers(10)


@development_broker
def test_a_connection_that_is_taken_over_is_told_so(peer: MakePeer) -> None:
    """Mosquitto closes it without a word."""
    first = peer().connect()
    peer(client_id=first.client_id).connect()
    assert first.wait_for_end() == 0x8E


# Subscriptions


def test_each_overlapping_subscription_tells_its_identifier(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/+/data", identifier=7)
    one.subscribe(f"$share/workers/{topic_prefix}/#", identifier=268_435_455)
    one.subscribe(f"{topic_prefix}/other/data")
    peer().connect().publish(f"{topic_prefix}/d1/data", "x")
    one.wait_for(2)
    one.round_trip()
    found = [message.properties.SubscriptionIdentifier for message in one.messages]  # type: ignore[union-attr]
    assert sorted(found) == [[7], [268_435_455]]


def test_a_retained_message_comes_with_the_subscription(peer: MakePeer, topic_prefix: str) -> None:
    live = peer().connect()
    live.subscribe(f"{topic_prefix}/#")
    publisher = peer().connect()
    publisher.publish(f"{topic_prefix}/a", "old", retain=True)
    publisher.publish(f"{topic_prefix}/a", "new", retain=True)
    publisher.publish(f"{topic_prefix}/b", "gone", retain=True)
    publisher.publish(f"{topic_prefix}/b", "", retain=True)
    publisher.publish(f"{topic_prefix}/c", "passing")
    live.wait_for(5)
    assert not any(message.retain for message in live.messages)
    late = peer().connect()
    late.subscribe(f"{topic_prefix}/+")
    late.round_trip()
    assert [(message.topic, message.payload, message.retain) for message in late.messages] == [
        (f"{topic_prefix}/a", b"new", True)
    ]
    other = peer().connect()
    other.subscribe(f"{topic_prefix}/a", retainHandling=2)
    other.round_trip()
    assert other.messages == []


@development_broker
def test_a_retained_message_does_not_come_with_a_shared_subscription(peer: MakePeer, topic_prefix: str) -> None:
    """MQTT 5, 4.8.2; Mosquitto sends it to each member all the same."""
    peer().connect().publish(topic_prefix, "old", retain=True)
    member = peer().connect()
    member.subscribe(f"$share/workers/{topic_prefix}")
    member.round_trip()
    assert member.messages == []


def test_subscription_options_are_honoured(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/own", noLocal=True)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=1)
    one.publish(f"{topic_prefix}/own", "from itself")
    one.publish(f"{topic_prefix}/kept", "retained", retain=True)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=1)
    one.subscribe(f"{topic_prefix}/kept", retainAsPublished=True, retainHandling=0)
    one.wait_for(2)
    one.round_trip()
    assert [(message.payload, message.retain) for message in one.messages] == [(b"retained", True)] * 2


def test_qos_is_the_lower_of_both_sides(peer: MakePeer, topic_prefix: str) -> None:
    careful, careless = peer().connect(), peer().connect()
    assert careful.subscribe(topic_prefix, 1) == 1
    assert careless.subscribe(topic_prefix, 0) == 0
    publisher = peer().connect()
    publisher.publish(topic_prefix, "at most once", 0)
    publisher.publish(topic_prefix, "at least once", 1)
    careful.wait_for(2)
    careless.wait_for(2)
    assert {message.payload: message.qos for message in careful.messages} == {b"at most once": 0, b"at least once": 1}
    assert [message.qos for message in careless.messages] == [0, 0]


def test_a_wildcard_in_the_first_level_never_matches_a_topic_of_the_server(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(f"+/{topic_prefix}")
    one.subscribe(f"$own/+/{topic_prefix}/#")
    publisher = peer().connect()
    publisher.publish(f"$own/{topic_prefix}", "hidden")
    publisher.publish(f"$own/x/{topic_prefix}", "asked for by name")
    publisher.publish(f"own/{topic_prefix}", "plain")
    one.wait_for(2)
    one.round_trip()
    assert sorted(one.payloads) == ["asked for by name", "plain"]


def test_after_unsubscribe_nothing_new_comes_but_what_was_queued_does(peer: MakePeer, topic_prefix: str) -> None:
    one = peer(manual_ack=True).connect(ReceiveMaximum=1)
    one.subscribe(f"$share/workers/{topic_prefix}")
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(3))
    one.wait_for(1)
    one.unsubscribe(f"$share/workers/{topic_prefix}")
    publisher.publish(topic_prefix, "late")
    for number in range(3):
        one.wait_for(number + 1)
        one.ack(one.messages[number])
    one.round_trip()
    assert one.payloads == numbers(3)


# Messages


@pytest.mark.parametrize("level", ["with spaces", "🌡️", "'\"", "ünï-çødé.d1", "/", "{x}", "/".join("x" * 150)])
def test_odd_topics_arrive_as_they_are(peer: MakePeer, topic_prefix: str, level: str) -> None:
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/#")
    peer().connect().publish(f"{topic_prefix}/{level}/data", "x")
    one.wait_for(1)
    assert one.messages[0].topic == f"{topic_prefix}/{level}/data"


@development_broker
def test_a_line_break_in_a_topic_arrives_as_it_is(peer: MakePeer, topic_prefix: str) -> None:
    """Mosquitto ends the connection of who publishes control characters, as MQTT 5, 1.5.4 allows."""
    one = peer().connect()
    one.subscribe(f"{topic_prefix}/#")
    peer().connect().publish(f"{topic_prefix}/a\n\x1b[2J", "x")
    one.wait_for(1)
    assert one.messages[0].topic == f"{topic_prefix}/a\n\x1b[2J"


def test_payloads_of_every_kind_arrive_as_they_are(peer: MakePeer, topic_prefix: str) -> None:
    payloads = [b"", bytes(range(256)), b"x" * 300_000, b"\0" * 127, b"y" * 128, b"z" * 16_384]
    one = peer().connect()
    one.subscribe(topic_prefix)
    publisher = peer().connect()
    for payload in payloads:
        publisher.publish(topic_prefix, payload)
    wait_until(lambda: len(one.messages) == len(payloads), message="all payloads are there")
    assert [message.payload for message in one.messages] == payloads


def test_the_publishers_properties_arrive(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect()
    one.subscribe(topic_prefix, identifier=3)
    peer().connect().publish(
        topic_prefix,
        "x",
        ContentType="application/json",
        ResponseTopic="answers",
        CorrelationData=b"\x00\xff",
        UserProperty=[("b", "2"), ("a", "1"), ("b", "2")],
        PayloadFormatIndicator=1,
    )
    one.wait_for(1)
    assert one.messages[0].properties is not None
    assert one.messages[0].properties.json() == {
        "PayloadFormatIndicator": 1,
        "ContentType": "application/json",
        "ResponseTopic": "answers",
        "CorrelationData": "00ff",
        "SubscriptionIdentifier": [3],
        "UserProperty": [("b", "2"), ("a", "1"), ("b", "2")],
    }


def test_a_client_gets_no_packet_larger_than_it_allows(peer: MakePeer, topic_prefix: str) -> None:
    one = peer().connect(MaximumPacketSize=1000)
    one.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish(topic_prefix, "x" * 1000)
    publisher.publish(topic_prefix, "small")
    assert one.wait_for(1) == ["small"]


def test_two_thousand_in_flight_can_be_acknowledged_in_any_order(peer: MakePeer, topic_prefix: str) -> None:
    one = peer(manual_ack=True).connect(ReceiveMaximum=2000, SessionExpiryInterval=300)
    one.subscribe(topic_prefix)
    publisher = peer().connect()
    publisher.publish_all(topic_prefix, numbers(2010))
    one.wait_for(2000)
    one.round_trip()
    assert one.payloads == numbers(2000)
    for message in reversed(one.messages[:2000]):
        one.ack(message)
    assert one.wait_for(2010) == numbers(2010)
    one.round_trip()
    one.cut()
    back = peer(client_id=one.client_id).connect(clean=False)
    back.round_trip()
    assert back.payloads == numbers(10, start=2000)


# Wills


@pytest.mark.parametrize("version", [4, 5])
def test_a_will_is_published_when_the_connection_is_lost_and_not_after_a_goodbye(
    peer: MakePeer, topic_prefix: str, version: int
) -> None:
    watcher = peer().connect()
    watcher.subscribe(f"{topic_prefix}/#")
    peer(version=version).connect(will=(f"{topic_prefix}/polite", "not wanted")).close()
    peer(version=version).connect(will=(f"{topic_prefix}/lost", "gone")).cut()
    assert watcher.wait_for(1) == ["gone"]


def test_a_delayed_will_is_not_published_when_the_client_is_back_in_time(peer: MakePeer, topic_prefix: str) -> None:
    watcher = peer().connect()
    watcher.subscribe(f"{topic_prefix}/#")
    back_soon = peer().connect(will=(f"{topic_prefix}/back", "too early"), will_delay_s=1, SessionExpiryInterval=300)
    gone = peer().connect(will=(f"{topic_prefix}/gone", "in time"), will_delay_s=2, SessionExpiryInterval=300)
    back_soon.cut()
    gone.cut()
    peer(client_id=back_soon.client_id).connect(clean=False, SessionExpiryInterval=300)
    assert watcher.wait_for(1) == ["in time"]


# QoS 2, as Node.js and Java clients like to publish


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_published_with_qos_2_arrives_and_is_confirmed(peer: MakePeer, topic_prefix: str, version: int) -> None:
    watcher = peer().connect()
    watcher.subscribe(f"{topic_prefix}/#")
    publisher = peer(version=version).connect(will=(f"{topic_prefix}/will", "gone"), will_qos=2)
    for number in numbers(3):
        publisher.publish(f"{topic_prefix}/data", number, 2)
    assert watcher.wait_for(3) == numbers(3)
    assert {message.qos for message in watcher.messages} == {1}
    publisher.cut()
    assert watcher.wait_for(4)[3] == "gone"


@pytest.mark.parametrize("version", [4, 5])
def test_a_qos_2_publish_that_comes_again_before_its_release_is_delivered_once(
    mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str, version: int
) -> None:
    watcher = peer().connect()
    watcher.subscribe(topic_prefix)
    bare = BareSocket(mqtt_broker.port).connect(version=version)
    body = binary(topic_prefix.encode()) + packet_id(7) + (b"\0" if version == 5 else b"")
    for first in (0x34, 0x3C):
        bare.send(packet(first, body + b"once"))
        assert bare.read() == (0x50, packet_id(7))
    bare.send(packet(0x62, packet_id(7)))
    assert bare.read() == (0x70, packet_id(7))
    bare.send(packet(0x34, body + b"another"))
    assert bare.read() == (0x50, packet_id(7))
    bare.send(packet(0x62, packet_id(7)))
    assert bare.read() == (0x70, packet_id(7))
    assert watcher.wait_for(2) == ["once", "another"]
    bare.close()


# Clients that misbehave

MALFORMED = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "endless remaining length": b"\x10\xff\xff\xff\xff\xff",
    "no protocol name": packet(0x10, b"\0\0"),
    "empty connect": packet(0x10, b""),
    "connect flags": packet(0x10, binary(b"MQTT") + b"\x05\x03\0\0\0" + binary(b"x")),
    "publish before connect": packet(0x32, binary(b"a") + b"\0\1\0payload"),
}
MALFORMED_LATER = {
    "second connect": packet(0x10, binary(b"MQTT") + b"\x05\x02\0\0\0" + binary(b"x")),
    "type 0": packet(0x00, b""),
    "qos 3": packet(0x36, binary(b"a") + b"\0\1\0payload"),
    "wildcard in a topic name": packet(0x32, binary(b"a/+") + b"\0\1\0payload"),
    "topic not utf-8": packet(0x32, binary(b"a\xff\xfe") + b"\0\1\0payload"),
    "topic with a surrogate": packet(0x32, binary(b"\xed\xa0\x80") + b"\0\1\0payload"),
    "topic with null": packet(0x32, binary(b"a\0b") + b"\0\1\0payload"),
    "topic longer than the packet": packet(0x32, b"\xff\xffab"),
    "packet id 0": packet(0x32, binary(b"a") + b"\0\0\0payload"),
    "properties longer than the packet": packet(0x32, binary(b"a") + b"\0\1\x7f\x26"),
    "unknown property": packet(0x32, binary(b"a") + b"\0\1\x02\x7e\x00"),
    "subscribe flags": packet(0x80, b"\0\1\0" + binary(b"a") + b"\1"),
    "subscribe to nothing": packet(0x82, b"\0\1\0"),
    "filter with a wildcard inside": packet(0x82, b"\0\1\0" + binary(b"a/b#/c") + b"\1"),
    "filter with # before its end": packet(0x82, b"\0\1\0" + binary(b"a/#/c") + b"\1"),
    "identifier 0": packet(0x82, b"\0\1\x02\x0b\x00" + binary(b"a") + b"\1"),
}
WRONG_SHARES = {
    "share without a filter": packet(0x82, b"\0\1\0" + binary(b"$share/workers") + b"\1"),
    "share without a name": packet(0x82, b"\0\1\0" + binary(b"$share//a") + b"\1"),
    "no local on a shared subscription": packet(0x82, b"\0\1\0" + binary(b"$share/workers/a") + b"\5"),
}


@pytest.mark.parametrize("case", [*MALFORMED, *MALFORMED_LATER])
def test_bad_bytes_end_that_connection_and_no_other(
    mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str, case: str
) -> None:
    bystander = peer().connect()
    bystander.subscribe(topic_prefix)
    bad = BareSocket(mqtt_broker.port)
    if case in MALFORMED:
        bad.send(MALFORMED[case])
    else:
        bad.connect()
        bad.send(MALFORMED_LATER[case])
    bad.wait_for_close()
    bad.close()
    bystander.publish(topic_prefix, "still here")
    assert bystander.wait_for(1) == ["still here"]


@development_broker
@pytest.mark.parametrize("case", WRONG_SHARES)
def test_a_wrong_shared_subscription_ends_the_connection(mqtt_broker: MqttBroker, case: str) -> None:
    """MQTT 5, 4.8.2; Mosquitto grants these, and delivers nothing."""
    bad = BareSocket(mqtt_broker.port).connect()
    bad.send(WRONG_SHARES[case])
    assert [first & 0xF0 for first, _ in bad.wait_for_close()] == [0xE0]
    bad.close()


def test_packets_cut_anywhere_and_glued_together_are_understood(
    mqtt_broker: MqttBroker, peer: MakePeer, topic_prefix: str
) -> None:
    one = peer().connect()
    one.subscribe(topic_prefix)
    stream = b"".join(
        packet(0x32, binary(topic_prefix.encode()) + packet_id(number) + b"\0" + str(number).encode())
        for number in range(1, 41)
    )
    bare = BareSocket(mqtt_broker.port).connect()
    for position in range(0, len(stream) // 2, 7):
        bare.send(stream[position : position + 7])
    bare.send(stream[len(range(0, len(stream) // 2, 7)) * 7 :])
    assert one.wait_for(40) == numbers(40, start=1)
    assert [bare.read()[0] for _ in range(40)] == [0x40] * 40
    bare.close()


def test_a_silent_client_is_gone_after_its_keep_alive(mqtt_broker: MqttBroker) -> None:
    bare = BareSocket(mqtt_broker.port).connect(keep_alive_s=2)
    started = time.monotonic()
    bare.wait_for_close()
    assert 2 <= time.monotonic() - started < 9
    bare.close()


def test_a_client_that_only_pings_stays(mqtt_broker: MqttBroker) -> None:
    bare = BareSocket(mqtt_broker.port).connect(keep_alive_s=1)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        bare.send(packet(0xC0, b""))
        assert bare.read() == (0xD0, b"")
        pause = time.monotonic() + 0.5
        wait_until(lambda pause=pause: time.monotonic() > pause, message="half of the keep alive is over")
    bare.close()


def test_an_empty_client_id_is_assigned_one(mqtt_broker: MqttBroker) -> None:
    names = []
    for _ in range(2):
        bare = BareSocket(mqtt_broker.port)
        bare.send(packet(0x10, binary(b"MQTT") + b"\x05\x02\0\0\0" + binary(b"")))
        first, body = bare.read()
        assert (first, body[:2]) == (0x20, b"\0\0")
        connack = properties(PacketTypes.CONNACK)
        connack.unpack(body[2:])
        names.append(connack.AssignedClientIdentifier)
        bare.close()
    assert names[0] != names[1]
