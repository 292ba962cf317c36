"""The one packet that arrives by the thousand, PUBLISH (MQTT 5, 3.3; MQTT 3.1.1, 3.3), read quickly."""

from typing import NamedTuple

from routemq.mqtt_wire import CutShortError, MalformedPacketError, read_binary, read_variable

_FIXED_SIZES = {1: 1, 2: 4, 35: 2}
"""Properties without meaning here: payload format indicator, message expiry interval, topic alias (none is allowed)."""

_IDENTIFIER = 11


class Publish(NamedTuple):
    """One PUBLISH.

    Attributes:
        topic: Topic name as it came; brokers should refuse what is not UTF-8, not all do.
        payload: Application message.
        qos: 0 or 1; 2 of a session that another program has left behind.
        retain: Whether it is sent because a subscription was made, not because it was published just now.
        mid: Packet identifier; 0 with QoS 0.
        identifiers: Subscription identifiers, one per subscription that it is delivered for; empty in MQTT 3.1.1.
        content_type: Likewise the next three.
    """

    topic: bytes
    payload: bytes
    qos: int = 0
    retain: bool = False
    mid: int = 0
    identifiers: tuple[int, ...] = ()
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


def decode_publish(header: int, data: bytes, start: int, end: int, *, mqtt5: bool) -> Publish:
    """Read what follows the fixed header, `data[start:end]`.

    Paho's own reader refuses U+FEFF in a property, although MQTT allows it, and hangs up: the message would come again
    and again. Text in properties that is not UTF-8, which no broker should pass on, gets replacement characters.

    Raises:
        MalformedPacketError: Lengths do not fit, no topic, an unknown property, or QoS 3.
    """
    qos = header >> 1 & 3
    if qos > 2:
        raise MalformedPacketError(problem="a QoS that there is not")
    at = start + 2
    topic_end = at + (data[start] << 8 | data[start + 1]) if at <= end else end + 1
    body = topic_end + 2 if qos else topic_end
    if body > end:
        raise CutShortError
    topic = data[at:topic_end]
    if not topic:
        # MQTT 5, 4.7.3. Of a topic alias (3.3.2.3.4) there is only the number left once it is acknowledged.
        raise MalformedPacketError(problem="a message without a topic; no topic alias was agreed upon")
    mid = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
    retain = header & 1 == 1
    if not mqtt5:
        return Publish(topic, data[body:end], qos, retain, mid)
    size, at = read_variable(data, body)
    body = at + size
    if body > end:
        raise CutShortError
    if not size:
        return Publish(topic, data[body:end], qos, retain, mid)
    if data[at] == _IDENTIFIER:
        # What each message has, and most have nothing else.
        identifier, after = read_variable(data, at + 1)
        if after == body:
            return Publish(topic, data[body:end], qos, retain, mid, (identifier,))
    return _with_properties(Publish(topic, data[body:end], qos, retain, mid), data[at:body])


def _with_properties(publish: Publish, data: bytes) -> Publish:
    at, end = 0, len(data)
    identifiers: list[int] = []
    users: list[tuple[str, str]] = []
    content_type = response_topic = correlation_data = None
    while at < end:
        kind, at = read_variable(data, at)
        if kind == _IDENTIFIER:
            identifier, at = read_variable(data, at)
            identifiers.append(identifier)
        elif kind == 38:
            name, at = _text(data, at)
            value, at = _text(data, at)
            users.append((name, value))
        elif kind == 3:
            content_type, at = _text(data, at)
        elif kind == 8:
            response_topic, at = _text(data, at)
        elif kind == 9:
            correlation_data, at = read_binary(data, at)
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            raise MalformedPacketError(problem=f"unknown property {kind}")
    if at != end:
        raise MalformedPacketError(problem="properties of another length than it says")
    return publish._replace(
        identifiers=tuple(identifiers),
        content_type=content_type,
        response_topic=response_topic,
        correlation_data=correlation_data,
        user_properties=tuple(users),
    )


def _text(data: bytes, at: int) -> tuple[str, int]:
    value, end = read_binary(data, at)
    return value.decode(errors="replace"), end
