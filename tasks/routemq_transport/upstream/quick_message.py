"""A delivered message whose JSON body is decoded once, and quickly."""

from binascii import a2b_base64
from collections.abc import Sequence
from typing import Any

from kombu.exceptions import DecodeError
from kombu.transport import virtual

from routemq_transport.item_reading import loads_exactly

JSON = "application/json"


class QuickMessage(virtual.Message):
    """kombu's message, made and acknowledged in fewer steps, with a quicker way to a JSON body.

    Attributes:
        awaits_pool: Celery's consumer has taken it in, for its pool to run.
        queue: The queue that it was taken from.
    """

    awaits_pool = False
    queue = ""
    accept: Any
    body: Any
    errors: Any

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:
        properties, headers = payload["properties"], payload.get("headers")
        if options or not headers or "compression" in headers or properties.get("body_encoding") != "base64":
            super().__init__(payload, channel=channel, **options)
            return
        self._raw, self.channel = payload, channel
        self.properties, self.headers = properties, headers
        self.body = a2b_base64(payload["body"].encode())
        self.delivery_tag, self.delivery_info = properties["delivery_tag"], properties.get("delivery_info") or {}
        self.content_type, self.content_encoding = payload.get("content-type"), payload.get("content-encoding")
        self.errors, self.accept, self._decoded_cache, self._state = [], None, None, "RECEIVED"

    def ack(self, multiple: bool = False) -> None:
        """Acknowledge it."""
        # Kombu looks for a consumer that wants none; of ours, what goes to one is done as it is delivered.
        if multiple or self.acknowledged:
            super().ack(multiple)
            return
        self.channel.qos.ack(self.delivery_tag)
        self._state = "ACK"

    def _decode(self) -> Any:
        if (
            self.content_type != JSON
            or not isinstance(self.body, bytes)
            or (self.content_encoding or "utf-8").lower() != "utf-8"
            or (self.accept is not None and JSON not in self.accept)
        ):
            return super()._decode()
        try:
            return loads_exactly(self.body)
        except (ValueError, RecursionError) as exc:
            raise DecodeError(f"{type(exc).__name__}: {exc}") from exc


def acknowledge_together(messages: Sequence[QuickMessage]) -> None:
    """Acknowledge messages of one channel in one step."""
    messages[0].channel.qos.ack_together([message.delivery_tag for message in messages])
