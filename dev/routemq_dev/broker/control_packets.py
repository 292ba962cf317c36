"""The control packets that carry more than a number or two, for MQTT 3.1.1 and 5."""

from dataclasses import dataclass, field

MQTT_311 = 4
MQTT_5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationMessage:
    """An application message.

    Attributes:
        properties: What is forwarded unaltered (MQTT 5, 3.3.2.3), encoded, without the length before it.
        expires_at_s: Seconds on the event loop's clock after which it is no longer delivered, or None.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes = b""
    expires_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """CONNECT: `expiry_s` is the session's life without a connection, 0xFFFFFFFF stands for ever."""

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int
    expiry_s: int
    receive_maximum: int
    max_packet_bytes: int
    reason_strings: bool
    will: ApplicationMessage | None
    will_delay_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionRequest:
    """One topic filter of a SUBSCRIBE with its options (MQTT 5, 3.8.3.1)."""

    filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    retain_handling: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """SUBSCRIBE: `identifier` is the encoded Subscription Identifier property, empty when there is none."""

    packet_id: int
    identifier: bytes
    requests: list[SubscriptionRequest] = field(default_factory=list)
