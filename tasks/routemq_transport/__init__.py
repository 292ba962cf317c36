"""Celery's Redis transport, faster and without losses; see `docs/transport.md`."""

from collections.abc import Callable

import redis
from celery.app.task import Task
from kombu.serialization import register
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.json import dumps

from routemq.dead_letters import DeadLetters
from routemq_transport.channel import FetchingChannel
from routemq_transport.items import loads_exactly

_PACKAGE = "routemq_transport.transport"


def install(dead_letters: "Callable[[redis.Redis], DeadLetters] | None" = None) -> None:
    """Let `redis://`, `rediss://` and `sentinel://` mean this transport in this process.

    Args:
        dead_letters: Makes the store of what no worker can take; without it, one with the transport's key prefix.
    """
    FetchingChannel.dead_letters_of = None if dead_letters is None else staticmethod(dead_letters)
    TRANSPORT_ALIASES.update(
        redis=f"{_PACKAGE}:Transport",
        rediss=f"{_PACKAGE}:Transport",
        sentinel=f"{_PACKAGE}:SentinelTransport",
    )
    Task.Request = f"{__name__}.request:StartingRequest"
    # Celery decodes each body twice, on arrival and where it runs; kombu's decoder takes a tenth of a worker's time.
    register("json", dumps, _loads, content_type="application/json", content_encoding="utf-8")


def _loads(text: str | bytes) -> object:
    return loads_exactly(text.encode() if isinstance(text, str) else text)
