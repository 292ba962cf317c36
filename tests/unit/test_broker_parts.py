"""The development broker without a network: its decoding of any bytes, its matching, and where it refuses to listen."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub
from routemq_dev.broker import packet_decoding
from routemq_dev.broker.control_packets import MQTT_5, MQTT_311, ApplicationMessage
from routemq_dev.broker.errors import NotLoopbackError, ProtocolError
from routemq_dev.broker.packet_encoding import encode_publish
from routemq_dev.broker.server import Server
from routemq_dev.broker.session_state import Interest, SessionState
from routemq_dev.broker.subscription_tree import SubscriptionTree, filter_matches

from routemq.mqtt_wire import MalformedPacketError

versions = st.sampled_from([MQTT_311, MQTT_5])
levels = st.sampled_from(["a", "b", "", "$SYS", "ü"])
topics = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.builds(
    lambda some, rest: "/".join([*some, *rest]),
    st.lists(levels | st.just("+"), min_size=1, max_size=3),
    st.sampled_from([[], ["#"]]),
).filter(bool)


@given(
    st.sampled_from(["name", "connect", "publish", "subscribe", "unsubscribe", "puback", "disconnect"]),
    versions,
    st.data(),
)
def test_any_bytes_are_decoded_or_refused_as_a_protocol_error(kind: str, version: int, data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=60))
    start = b"\0\4MQTT" + bytes((version,))
    decode = {
        "name": lambda: packet_decoding.protocol_version(body),
        "connect": lambda: packet_decoding.decode_connect(start + body, 0.0),
        "publish": lambda: packet_decoding.decode_publish(data.draw(st.integers(0x30, 0x3F)), body, version, 0.0),
        "subscribe": lambda: packet_decoding.decode_subscribe(body, version),
        "unsubscribe": lambda: packet_decoding.decode_unsubscribe(body, version),
        "puback": lambda: packet_decoding.decode_packet_id(body),
        "disconnect": lambda: packet_decoding.decode_disconnect(body, version),
    }[kind]
    try:
        decode()
    except (ProtocolError, MalformedPacketError) as exc:
        assert exc.problem  # noqa: PT017  whether it raises is open; what it says is not


@given(st.binary(max_size=12))
def test_any_start_of_a_packet_is_cut_or_refused(data: bytes) -> None:
    try:
        found = packet_decoding.read_packet(bytearray(data), 0) if data else None
    except (ProtocolError, MalformedPacketError):
        return
    if found is not None:
        first, body, after = found
        assert (first, body) == (data[0], data[after - len(body) : after])


@given(topics, st.binary(max_size=300), st.booleans(), st.integers(0, 65_535), versions)
def test_publish_is_decoded_as_it_was_encoded(
    topic: str, payload: bytes, retain: bool, packet_id: int, version: int
) -> None:
    sent = ApplicationMessage(topic=topic, payload=payload, qos=min(packet_id, 1), retain=retain)
    data = encode_publish(
        sent, packet_id=packet_id, dup=False, retain=retain, identifier=b"", version=version, now_s=0.0
    )
    packet = packet_decoding.read_packet(bytearray(data), 0)
    assert packet is not None
    first, body, end = packet
    assert end == len(data)
    if topic.startswith("$SYS/"):
        with pytest.raises(ProtocolError, match="nothing can be published"):
            packet_decoding.decode_publish(first, body, version, 0.0)
    else:
        assert packet_decoding.decode_publish(first, body, version, 0.0) == (packet_id, sent)


@given(st.lists(filters, min_size=1, max_size=5, unique=True), topics)
def test_tree_finds_the_filters_that_match(held: list[str], topic: str) -> None:
    tree, session = SubscriptionTree(), SessionState("c")
    made = [
        Interest(
            session=session,
            share=None,
            filter=one,
            qos=1,
            no_local=False,
            retain_as_published=False,
            identifier=b"",
        )
        for one in held
    ]
    for subscription in made:
        tree.add(subscription)
    expected = sorted(one for one in held if topic_matches_sub(one, topic))
    assert sorted(found.filter for found in tree.match(topic, "p")) == expected
    assert sorted(one for one in held if filter_matches(one, topic)) == expected
    for subscription in made:
        tree.remove(subscription)
    assert tree.match(topic, "p") == []
    assert tree._root.empty


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_it_listens_on_loopback_alone(host: str) -> None:
    with pytest.raises(NotLoopbackError, match="loopback only"):
        asyncio.run(Server().start(host, 0))
