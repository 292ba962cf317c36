"""How a Celery app comes to our transports, and to no other app's."""

from collections.abc import Callable
from typing import Any, ClassVar

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

STOCK_TRANSPORTS = {
    "redis": "routemq_transport.stock:StockTransport",
    "rediss": "routemq_transport.stock:SecureStockTransport",
}
"""Likewise, over Celery's own transport."""


Refuse = Callable[[Item, Exception], object]


class Connection(kombu.Connection):
    """kombu's connection; what it shows, and Flower reads, is the scheme of its URL instead of our class.

    Attributes:
        refuse: Takes what no consumer can, with the reason, and records what becomes of it; else it comes back.
    """

    refuse: ClassVar[Refuse | None] = None

    resolve_aliases: ClassVar[dict[str, str]] = {
        **kombu.Connection.resolve_aliases,
        **{path: scheme for names in (TRANSPORTS, STOCK_TRANSPORTS) for scheme, path in names.items()},
    }

    def ensure(
        self, obj: Any, fun: Any, errback: Any = None, max_retries: int | None = None, *args: Any, **options: Any
    ) -> Any:
        """Try once what kombu would try for ever, deaf to every stop signal: heartbeats, and answers to remote control.

        Who asks for it goes on without, or connects anew in a way of its own.
        """
        return super().ensure(obj, fun, errback, 0 if max_retries is None else max_retries, *args, **options)


class AMQP(amqp.AMQP):
    """What an app sends and consumes with."""

    Connection = Connection
