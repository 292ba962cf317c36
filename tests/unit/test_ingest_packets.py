"""PUBLISH is read as paho reads it, and nothing that is malformed gets past."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from routemq_ingest.packets import Publish, decode_publish

from routemq.mqtt_wire import MalformedPacketError, binary
from tests.mqtt_peer import properties

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\ufeff"), max_size=12)


def read(header: int, packet: bytes, *, mqtt5: bool = True) -> Publish:
    """Decode in the middle of other data, as it is in a buffer."""
    return decode_publish(header, b"before" + packet + b"\x0b\x0bafter", 6, 6 + len(packet), mqtt5=mqtt5)


@given(
    topic=NAMES.filter(bool),
    payload=st.binary(max_size=30),
    qos=st.sampled_from((0, 1)),
    retain=st.booleans(),
    identifiers=st.lists(st.integers(1, 0x0FFFFFFF), max_size=3),
    users=st.lists(st.tuples(NAMES, NAMES), max_size=3),
    content_type=st.none() | NAMES,
    response_topic=st.none() | NAMES,
    correlation_data=st.none() | st.binary(max_size=10),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
)
def test_every_property_is_read(
    topic: str, payload: bytes, qos: int, retain: bool, identifiers: list[int], users: list[tuple[str, str]],
    content_type: str | None, response_topic: str | None, correlation_data: bytes | None, expiry_s: int | None,
) -> None:  # fmt: skip
    given_values = {
        "ContentType": content_type,
        "ResponseTopic": response_topic,
        "CorrelationData": correlation_data,
        "MessageExpiryInterval": expiry_s,
        "UserProperty": users or None,
        "SubscriptionIdentifier": identifiers or None,
    }
    packed = properties(
        PacketTypes.PUBLISH, **{name: value for name, value in given_values.items() if value is not None}
    ).pack()
    packet = binary(topic.encode()) + (b"\x01\x02" if qos else b"") + packed + payload
    found = read(0x30 | qos << 1 | retain, packet)
    assert found == Publish(
        topic.encode(), payload, qos, retain, 258 if qos else 0, tuple(identifiers),
        content_type, response_topic, correlation_data, tuple(users),
    )  # fmt: skip


def test_mqtt_3_1_1_has_no_properties() -> None:
    assert read(0x33, b"\0\x01t\0\x07\x00payload", mqtt5=False) == Publish(b"t", b"\x00payload", 1, True, 7)


@pytest.mark.parametrize(
    ("header", "packet"),
    [
        (0x36, b"\0\x01t\0\x01\0"),  # no QoS at all
        (0x30, b""),
        (0x30, b"\0"),
        (0x30, b"\0\x05t"),
        (0x32, b"\0\x01t\0"),  # half a packet identifier
        (0x30, b"\0\x01t"),  # no property length
        (0x30, b"\0\x01t\x05\x0b\x01"),  # shorter than its properties
        (0x30, b"\0\x01t\x02\x0b\xff"),  # an identifier that does not end
        (0x30, b"\0\x01t\x01\x0b"),
        (0x30, b"\0\x01t\x02\x7e\x01"),  # unknown property
        (0x30, b"\0\x01t\x03\x03\0\x09"),  # a text longer than the properties
        (0x30, b"\0\x01t\x02\x02\x01"),  # half an expiry interval
        (0x30, b"\0\x01t\xff\xff\xff\xff\x01"),
        (0x30, b"\0\0\0"),  # no topic
        (0x32, b"\0\0\0\x01\x03\x23\0\x01"),  # a topic alias in its place
    ],
)
def test_what_is_malformed_is_refused(header: int, packet: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        read(header, packet)


def test_text_that_is_not_utf8_does_not_stop_a_message() -> None:
    found = read(0x30, b"\0\x01t\x05\x03\0\x02\xff\xfepayload")
    assert (found.content_type, found.payload) == ("\ufffd\ufffd", b"payload")
