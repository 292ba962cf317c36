"""What clients send, from bytes to objects. Properties go through paho's codec.

Whatever reads here raises ProtocolError, or MalformedPacketError where bytes lack.
"""

import struct
from typing import Any

from paho.mqtt.packettypes import PacketTypes

from routemq.mqtt_wire import CutShortError, read_binary, read_variable
from routemq_dev.broker.control_packets import (
    MQTT_5,
    MQTT_311,
    ApplicationMessage,
    Connect,
    Subscribe,
    SubscriptionRequest,
)
from routemq_dev.broker.errors import ProtocolError, Reason
from routemq_dev.broker.properties import decode_properties, encode_properties

MAX_PACKET_BYTES = 16 * 1024 * 1024
"""Larger packets end the connection; CONNACK says so to MQTT 5 clients."""

SESSION_FOREVER_S = 0xFFFFFFFF
"""The session expiry interval that stands for no expiry (MQTT 5, 3.1.2.11.2)."""


def read_packet(buffer: bytearray, at: int) -> tuple[int, bytes, int] | None:
    """Return first byte, body and the next packet's position, or None while the packet is not complete.

    Raises:
        MalformedPacketError: The remaining length has more than four bytes.
        ProtocolError: The packet is larger than `MAX_PACKET_BYTES`.
    """
    try:
        size, start = read_variable(buffer, at + 1)
    except CutShortError:
        return None
    if size + start - at > MAX_PACKET_BYTES:
        raise ProtocolError(
            reason=Reason.PACKET_TOO_LARGE, problem=f"a packet of {size} bytes; {MAX_PACKET_BYTES} are allowed"
        )
    end = start + size
    if end > len(buffer):
        return None
    return buffer[at], bytes(buffer[start:end]), end


def decode_connect(body: bytes, now_s: float) -> Connect:
    """Decode a CONNECT whose protocol name and version were accepted by `protocol_version`."""
    version = body[6]
    flags, keep_alive_s = _unpack("!BH", body, 7)
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not flags & 4 and flags & 0x38):
        raise malformed(f"connect flags 0x{flags:02x}")
    if version == MQTT_311 and flags & 0x40 and not flags & 0x80:
        raise malformed("a password without a user name")
    properties, at = _read_properties(version, PacketTypes.CONNECT, body, 10)
    if "AuthenticationMethod" in properties:
        raise ProtocolError(reason=Reason.BAD_AUTHENTICATION_METHOD, problem="extended authentication is not supported")
    client_id, at = _read_text(body, at)
    will, will_delay_s = None, 0
    if flags & 4:
        will_properties, at = _read_properties(version, PacketTypes.WILLMESSAGE, body, at)
        topic, at = _read_text(body, at)
        check_topic(topic)
        payload, at = read_binary(body, at)
        will_delay_s = will_properties.pop("WillDelayInterval", 0)
        will = _message(
            topic, payload, qos=will_qos, retain=bool(flags & 0x20), properties=will_properties, now_s=now_s
        )
    for flag in (0x80, 0x40):
        if flags & flag:
            _, at = read_binary(body, at)
    if at != len(body):
        raise malformed("bytes after the end of a CONNECT")
    clean_start = bool(flags & 2)
    return Connect(
        version=version,
        client_id=client_id,
        clean_start=clean_start,
        keep_alive_s=keep_alive_s,
        # A 3.1.1 session lives until a client asks for a clean one.
        expiry_s=properties.pop("SessionExpiryInterval", 0 if version == MQTT_5 or clean_start else SESSION_FOREVER_S),
        receive_maximum=properties.pop("ReceiveMaximum", 65_535),
        max_packet_bytes=properties.pop("MaximumPacketSize", 268_435_460),
        reason_strings=bool(properties.pop("RequestProblemInformation", 1)),
        will=will,
        will_delay_s=will_delay_s,
    )


def protocol_version(body: bytes) -> int | None:
    """Return the version a CONNECT asks for, None when it is none of ours.

    Raises:
        ProtocolError: The packet does not even start like a CONNECT.
    """
    name, at = _read_text(body, 0)
    if name not in ("MQTT", "MQIsdp") or at >= len(body):
        raise malformed(f"the protocol name {name[:20]!r}")
    return body[at] if name == "MQTT" and body[at] in (MQTT_311, MQTT_5) else None


def decode_publish(first: int, body: bytes, version: int, now_s: float) -> tuple[int, ApplicationMessage]:
    """Return the packet id, 0 for QoS 0, and the message."""
    qos = first >> 1 & 3
    if qos == 3 or (qos == 0 and first & 8):
        raise malformed(f"publish flags 0x{first & 15:x}")
    topic, at = _read_text(body, 0)
    packet_id = 0
    if qos:
        (packet_id,) = _unpack("!H", body, at)
        at += 2
        if not packet_id:
            raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="the packet id 0")
    properties, at = _read_properties(version, PacketTypes.PUBLISH, body, at)
    if "TopicAlias" in properties:
        raise ProtocolError(reason=Reason.TOPIC_ALIAS_INVALID, problem="a topic alias; none is allowed")
    if "SubscriptionIdentifier" in properties:
        raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="a subscription identifier in a client's publish")
    check_topic(topic)
    return packet_id, _message(topic, body[at:], qos=qos, retain=bool(first & 1), properties=properties, now_s=now_s)


def decode_subscribe(body: bytes, version: int) -> Subscribe:
    """Decode a SUBSCRIBE; the filters themselves are checked where they are parsed."""
    (packet_id,) = _unpack("!H", body, 0)
    properties, at = _read_properties(version, PacketTypes.SUBSCRIBE, body, 2)
    identifiers: list[int] = properties.pop("SubscriptionIdentifier", [])
    if len(identifiers) > 1 or not packet_id:
        raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="two subscription identifiers, or the packet id 0")
    identifier = {"SubscriptionIdentifier": identifiers} if identifiers else {}
    packet = Subscribe(packet_id=packet_id, identifier=encode_properties(PacketTypes.PUBLISH, identifier))
    while at < len(body):
        topic_filter, at = _read_text(body, at)
        (options,) = _unpack("!B", body, at)
        at += 1
        allowed = 0x3F if version == MQTT_5 else 0x03
        if options & ~allowed or options & 3 == 3 or options >> 4 & 3 == 3:
            raise malformed(f"subscription options 0x{options:02x}")
        packet.requests.append(
            SubscriptionRequest(
                filter=topic_filter,
                qos=options & 3,
                no_local=bool(options & 4),
                retain_as_published=bool(options & 8),
                retain_handling=options >> 4 & 3,
            )
        )
    if not packet.requests:
        raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="a SUBSCRIBE without a topic filter")
    return packet


def decode_unsubscribe(body: bytes, version: int) -> tuple[int, list[str]]:
    """Return the packet id and the topic filters."""
    (packet_id,) = _unpack("!H", body, 0)
    _, at = _read_properties(version, PacketTypes.UNSUBSCRIBE, body, 2)
    filters = []
    while at < len(body):
        topic_filter, at = _read_text(body, at)
        filters.append(topic_filter)
    if not filters or not packet_id:
        raise ProtocolError(reason=Reason.PROTOCOL_ERROR, problem="an UNSUBSCRIBE without a topic filter or packet id")
    return packet_id, filters


def decode_packet_id(body: bytes) -> int:
    """Return the packet id of a PUBACK or PUBREL; its reason code changes nothing."""
    packet_id: int = _unpack("!H", body, 0)[0]
    return packet_id


def decode_disconnect(body: bytes, version: int) -> tuple[int, int | None]:
    """Return the reason code and the session expiry interval, None when it stays as it was."""
    if version != MQTT_5 or not body:
        if body:
            raise malformed("a DISCONNECT with a body")
        return Reason.SUCCESS, None
    if len(body) == 1:
        return body[0], None
    properties, _ = _read_properties(version, PacketTypes.DISCONNECT, body, 1)
    return body[0], properties.pop("SessionExpiryInterval", None)


def check_topic(topic: str) -> None:
    """Raise ProtocolError when a message cannot be published to this topic name (MQTT 5, 4.7)."""
    if not topic or "+" in topic or "#" in topic:
        raise ProtocolError(reason=Reason.TOPIC_NAME_INVALID, problem=f"the topic name {topic[:100]!r}")
    if topic.startswith(("$SYS/", "$share/")):
        raise ProtocolError(
            reason=Reason.TOPIC_NAME_INVALID,
            problem=f"nothing can be published to {topic[:100]!r}; messages for a share group go to the topic itself",
        )


def malformed(problem: str) -> ProtocolError:
    """Return the error for a packet that cannot be parsed."""
    return ProtocolError(reason=Reason.MALFORMED_PACKET, problem=problem)


def _message(
    topic: str, payload: bytes, *, qos: int, retain: bool, properties: dict[str, Any], now_s: float
) -> ApplicationMessage:
    expiry_s = properties.pop("MessageExpiryInterval", None)
    return ApplicationMessage(
        topic=topic,
        payload=payload,
        qos=qos,
        retain=retain,
        properties=encode_properties(PacketTypes.PUBLISH, properties) if properties else b"",
        expires_at_s=None if expiry_s is None else now_s + expiry_s,
    )


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    data, at = read_binary(body, at)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed("a string that is not UTF-8") from None
    if "\0" in text:
        raise malformed("a string with the null character")
    return text, at


def _read_properties(version: int, packet_type: int, body: bytes, at: int) -> tuple[dict[str, Any], int]:
    return decode_properties(packet_type, body, at) if version == MQTT_5 else ({}, at)


def _unpack(layout: str, body: bytes, at: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, body, at)
    except struct.error:
        raise CutShortError from None
