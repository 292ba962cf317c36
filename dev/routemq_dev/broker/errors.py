"""Why the broker ends a connection or refuses to start."""

from enum import IntEnum

from routemq.errors import RouteMQError


class Reason(IntEnum):
    """The reason codes this broker sends or acts upon (MQTT 5, 2.4)."""

    SUCCESS = 0x00
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97


class ProtocolError(RouteMQError):
    """A client sent what the broker cannot accept. It ends that client's connection and nothing else."""

    def __init__(self, *, reason: Reason, problem: str) -> None:
        self.reason, self.problem = reason, problem
        super().__init__(f"{problem} (0x{reason:02X} {reason.name.lower()})")


class NotLoopbackError(RouteMQError):
    """The broker was asked to listen where other machines could reach it."""

    def __init__(self, *, host: str) -> None:
        self.host = host
        super().__init__(
            f"the development broker listens on loopback only, not on {host!r}: it has no authentication and no disk. "
            "Use 127.0.0.1, or run Mosquitto"
        )
