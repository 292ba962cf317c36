"""How a Celery app comes to our transports, and to no other app's."""

from collections.abc import Callable
from typing import ClassVar

import kombu
from celery.app import amqp

from routemq_transport.items import Item

_MODULE = "routemq_transport.transport"

TRANSPORTS = {
    "redis": f"{_MODULE}:Transport",
    "rediss": f"{_MODULE}:SecureTransport",
    "sentinel": f"{_MODULE}:SentinelTransport",
}
"""By the scheme of the broker's URL, for Celery's setting `broker_transport`."""


Refuse = Callable[[Item, Exception], object]


class Connection(kombu.Connection):
    """kombu's connection; what it shows, and Flower reads, is the scheme of its URL instead of our class.

    Attributes:
        refuse: Takes what no consumer can, with the reason, and records what becomes of it; else it comes back.
    """

    refuse: ClassVar[Refuse | None] = None

    resolve_aliases: ClassVar[dict[str, str]] = {
        **kombu.Connection.resolve_aliases,
        **{path: scheme for scheme, path in TRANSPORTS.items()},
    }


class AMQP(amqp.AMQP):
    """What an app sends and consumes with."""

    Connection = Connection
