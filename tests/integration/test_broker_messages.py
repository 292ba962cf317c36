"""How messages pass through an MQTT broker: as they are, within what clients allow, QoS 2 among them."""

import pytest

from routemq.mqtt_wire import binary, packet
from tests.mqtt_peer import BareSocket, MakePeer, development_broker, numbers, packet_id
from tests.processes import wait_until
from tests.servers import MqttBroker


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
