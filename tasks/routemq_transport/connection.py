"""How a Celery app comes to our transports, and to no other app's."""

from typing import Any, ClassVar

import kombu
from celery.app import amqp

_MODULE = "routemq_transport.transport"

TRANSPORTS = {
    "redis": f"{_MODULE}:Transport",
    "rediss": f"{_MODULE}:SecureTransport",
    "sentinel": f"{_MODULE}:SentinelTransport",
}
"""By the scheme of the broker's URL, for Celery's setting `broker_transport`."""


class Connection(kombu.Connection):
    """kombu's connection; what it shows, and Flower reads, is the scheme of its URL instead of our class."""

    resolve_aliases: ClassVar[dict[str, str]] = {
        **kombu.Connection.resolve_aliases,
        **{path: scheme for scheme, path in TRANSPORTS.items()},
    }

    def info(self) -> dict[str, Any]:
        """Return what a worker's answer to `inspect stats` says of it: no option that JSON has no word for."""
        found: dict[str, Any] = super().info()
        options = found["transport_options"]
        return found | {"transport_options": {name: value for name, value in options.items() if not callable(value)}}


class AMQP(amqp.AMQP):
    """What an app sends and consumes with."""

    Connection = Connection
