"""Celery's Redis transport, faster and without losses; see `docs/transport.md`."""

from kombu.transport import TRANSPORT_ALIASES

_PACKAGE = "routemq_tasks.transport.transport"


def install() -> None:
    """Let `redis://`, `rediss://` and `sentinel://` mean this transport in this process."""
    TRANSPORT_ALIASES.update(
        redis=f"{_PACKAGE}:Transport",
        rediss=f"{_PACKAGE}:Transport",
        sentinel=f"{_PACKAGE}:SentinelTransport",
    )
