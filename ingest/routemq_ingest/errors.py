"""Why a message cannot become a task; what the operator reads beside the dead letter."""

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
