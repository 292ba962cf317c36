"""What is on a queue, read in parts that Redis can spare the memory for."""

from collections.abc import Iterator
from typing import cast

import redis

_MOST_AT_ONCE = 200
_MOST_BYTES_AT_ONCE = 8 * 1024 * 1024


def queued_items(client: "redis.Redis", key: str, most: int) -> Iterator[bytes]:
    """Yield list items, those that came last first."""
    first, size = 0, 1
    while first < most:
        items = cast("list[bytes]", client.lrange(key, first, first + size - 1))
        yield from items
        if len(items) < size:
            return
        first += size
        # As many again, so that few large ones are met at once after many small ones.
        size = min(2 * size, _MOST_AT_ONCE, 1 + _MOST_BYTES_AT_ONCE * size // (1 + sum(map(len, items))), most - first)
