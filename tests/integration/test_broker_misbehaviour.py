"""Clients that misbehave at an MQTT broker end their own connection and no other."""

import time

import pytest
from paho.mqtt.packettypes import PacketTypes

from routemq.mqtt_wire import binary, packet
from tests.mqtt_peer import BareSocket, MakePeer, development_broker, numbers, packet_id, properties
from tests.processes import wait_until
from tests.servers import MqttBroker

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
    assert time.monotonic() - started >= 2
    bare.close()


def test_a_client_that_only_pings_stays(mqtt_broker: MqttBroker) -> None:
    bare = BareSocket(mqtt_broker.port).connect(keep_alive_s=2)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        bare.send(packet(0xC0, b""))
        assert bare.read() == (0xD0, b"")
        pause = time.monotonic() + 0.2
        wait_until(lambda pause=pause: time.monotonic() > pause, message="a part of the keep alive is over")
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
