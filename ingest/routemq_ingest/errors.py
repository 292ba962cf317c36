"""Why a message cannot become a task; what the operator reads beside the dead letter."""

import redis

from routemq.errors import RouteMQError


class TopicNotUtf8Error(RouteMQError):
    """A topic name breaks the rule that it is UTF-8 (MQTT 5, 1.5.4)."""

    def __init__(self, *, topic: bytes) -> None:
        self.topic = topic
        super().__init__(f"the topic is not UTF-8: {topic!r:.300}")


class PayloadTooLargeError(RouteMQError):
    """A payload is over the limit."""

    def __init__(self, *, size_bytes: int, allowed_bytes: int) -> None:
        self.size_bytes, self.allowed_bytes = size_bytes, allowed_bytes
        super().__init__(
            f"the payload has {size_bytes} bytes, INGEST_MAX_PAYLOAD_BYTES allows {allowed_bytes}; "
            "raise it, then replay the message"
        )


class NoRouteError(RouteMQError):
    """A message came for a subscription that no route has, such as one of an earlier release of the application."""

    def __init__(self, *, topic: str) -> None:
        self.topic = topic
        super().__init__(f"no route has a subscription for the topic {topic!r:.300}; was its route removed?")


class NotTakenError(RouteMQError):
    """A message could not be queued for its own sake, and is not kept whole."""

    def __init__(self, *, why: str, payload_bytes: int, payload_sha256: str) -> None:
        self.why, self.payload_bytes, self.payload_sha256 = why, payload_bytes, payload_sha256
        super().__init__(
            f"it cannot be queued ({why}); of its payload of {payload_bytes} bytes, SHA-256 {payload_sha256}, "
            "only the beginning is kept, if any"
        )


class BreaksConnectionError(redis.ConnectionError):
    """Redis answers, but not when these messages are sent."""

    def __init__(self, *, messages: int, error: BaseException) -> None:
        self.messages, self.error = messages, error
        super().__init__(f"the connection ends while messages are sent, {messages} at once: {error}")
