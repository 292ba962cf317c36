"""MQTT 5 properties, by paho's codec, which has no types and many ways to fail."""

from typing import Any

from paho.mqtt import properties as paho

from routemq.mqtt_wire import read_variable
from routemq_dev.broker.errors import ProtocolError, Reason

_Properties: Any = paho.Properties
_NOT_PROPERTIES = {"packetType", "types", "names", "properties"}


def encode_properties(packet_type: int, values: dict[str, Any]) -> bytes:
    """Encode properties, by paho's names such as `ReceiveMaximum`, without the length that stands before them."""
    properties = _Properties(packet_type)
    for name, value in values.items():
        setattr(properties, name, value)
    packed = bytes(properties.pack())
    return packed[read_variable(packed, 0)[1] :]


def decode_properties(packet_type: int, body: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Return the properties at this position of a packet, and the position after them.

    Raises:
        ProtocolError: They are malformed, twice there, or not for this packet.
    """
    if body[at : at + 1] == b"\x00":  # none, by far the most frequent
        return {}, at + 1
    properties = _Properties(packet_type)
    try:
        size, start = read_variable(body, at)
        end = start + size
        if end > len(body):
            raise ValueError("they end too early")  # noqa: TRY301 - one of the codec's own failures
        properties.unpack(body[at:end])
    except Exception as exc:
        # Which exception depends on where the codec stumbles and on its release; each means that the bytes are wrong.
        raise ProtocolError(reason=Reason.MALFORMED_PACKET, problem=f"properties: {exc!r}") from exc
    return {name: value for name, value in vars(properties).items() if name not in _NOT_PROPERTIES}, end
