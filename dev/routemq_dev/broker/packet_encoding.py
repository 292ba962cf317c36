"""What the broker sends, from objects to bytes. Properties go through paho's codec."""

import struct

from paho.mqtt.packettypes import PacketTypes

from routemq.mqtt_wire import binary, packet, variable
from routemq_dev.broker.control_packets import MQTT_5, ApplicationMessage
from routemq_dev.broker.errors import Reason
from routemq_dev.broker.properties import encode_properties

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
    parts = [binary(message.topic.encode())]
    if packet_id:
        parts.append(_UINT16.pack(packet_id))
    if version == MQTT_5:
        properties = message.properties + identifier
        if message.expires_at_s is not None:
            left_s = max(1, round(message.expires_at_s - now_s))
            properties += encode_properties(PacketTypes.PUBLISH, {"MessageExpiryInterval": left_s})
        parts += [variable(len(properties)), properties]
    parts.append(message.payload)
    first = 0x30 | (0x02 if packet_id else 0) | (0x08 if dup else 0) | (0x01 if retain else 0)
    return packet(first, b"".join(parts))


def encode_connack(version: int, session_present: bool, code: int, properties: bytes = b"") -> bytes:
    """Encode a CONNACK; `code` is a return code of 3.1.1 or a reason code of 5."""
    body = bytes((session_present, code))
    return packet(0x20, body + variable(len(properties)) + properties if version == MQTT_5 else body)


def encode_ack(first: int, packet_id: int, reason: Reason) -> bytes:
    """Encode a PUBACK, PUBREC or PUBCOMP; the reason is written only when it says something, in 3.1.1 never."""
    if reason is Reason.SUCCESS:
        return bytes((first, 2)) + _UINT16.pack(packet_id)
    return bytes((first, 3)) + _UINT16.pack(packet_id) + bytes((reason,))


def encode_suback(packet_id: int, codes: bytes, version: int) -> bytes:
    """Encode a SUBACK with one code for each topic filter, in order."""
    return packet(0x90, _UINT16.pack(packet_id) + (b"\x00" if version == MQTT_5 else b"") + codes)


def encode_unsuback(packet_id: int, codes: bytes, version: int) -> bytes:
    """Encode an UNSUBACK; 3.1.1 has no codes in it."""
    return packet(0xB0, _UINT16.pack(packet_id) + (b"\x00" + codes if version == MQTT_5 else b""))


def encode_disconnect(reason: Reason, text: str) -> bytes:
    """Encode a DISCONNECT of MQTT 5."""
    properties = encode_properties(PacketTypes.DISCONNECT, {"ReasonString": text}) if text else b""
    return packet(0xE0, bytes((reason,)) + variable(len(properties)) + properties)
