"""What the broker sends, from objects to bytes. Properties go through paho's codec."""

import struct

from paho.mqtt.packettypes import PacketTypes

from routemq_dev.broker.control_packets import MQTT_5, ApplicationMessage
from routemq_dev.broker.errors import Reason
from routemq_dev.broker.properties import encode_length, encode_properties

PINGRESP = b"\xd0\x00"

_UINT16 = struct.Struct("!H")


def encode_publish(
    message: ApplicationMessage,
    *,
    packet_id: int,
    dup: bool,
    retain: bool,
    identifier: bytes,
    version: int,
    now_s: float,
) -> bytes:
    """Encode a PUBLISH of QoS 1, or of QoS 0 when `packet_id` is 0."""
    topic = message.topic.encode()
    parts = [_UINT16.pack(len(topic)), topic]
    if packet_id:
        parts.append(_UINT16.pack(packet_id))
    if version == MQTT_5:
        properties = message.properties + identifier
        if message.expires_at_s is not None:
            left_s = max(1, round(message.expires_at_s - now_s))
            properties += encode_properties(PacketTypes.PUBLISH, {"MessageExpiryInterval": left_s})
        parts += [encode_length(len(properties)), properties]
    parts.append(message.payload)
    first = 0x30 | (0x02 if packet_id else 0) | (0x08 if dup else 0) | (0x01 if retain else 0)
    return bytes((first,)) + encode_length(sum(map(len, parts))) + b"".join(parts)


def encode_connack(version: int, session_present: bool, code: int, properties: bytes = b"") -> bytes:
    """Encode a CONNACK; `code` is a return code of 3.1.1 or a reason code of 5."""
    body = bytes((session_present, code))
    return _packet(0x20, body + encode_length(len(properties)) + properties if version == MQTT_5 else body)


def encode_ack(first: int, packet_id: int, reason: Reason) -> bytes:
    """Encode a PUBACK, PUBREC or PUBCOMP; the reason is written only when it says something, in 3.1.1 never."""
    if reason is Reason.SUCCESS:
        return bytes((first, 2)) + _UINT16.pack(packet_id)
    return bytes((first, 3)) + _UINT16.pack(packet_id) + bytes((reason,))


def encode_suback(packet_id: int, codes: bytes, version: int) -> bytes:
    """Encode a SUBACK with one code for each topic filter, in order."""
    return _packet(0x90, _UINT16.pack(packet_id) + (b"\x00" if version == MQTT_5 else b"") + codes)


def encode_unsuback(packet_id: int, codes: bytes, version: int) -> bytes:
    """Encode an UNSUBACK; 3.1.1 has no codes in it."""
    return _packet(0xB0, _UINT16.pack(packet_id) + (b"\x00" + codes if version == MQTT_5 else b""))


def encode_disconnect(reason: Reason, text: str) -> bytes:
    """Encode a DISCONNECT of MQTT 5."""
    properties = encode_properties(PacketTypes.DISCONNECT, {"ReasonString": text}) if text else b""
    return _packet(0xE0, bytes((reason,)) + encode_length(len(properties)) + properties)


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + encode_length(len(body)) + body
