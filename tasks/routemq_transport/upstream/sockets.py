"""What redis-py keeps of a connection, and has no public name for."""

from typing import Any


def socket_of(connection: Any) -> Any:
    """Return the socket of a connection of redis-py; None while it is not connected."""
    return connection._sock  # noqa: SLF001
