"""What is left in MQTT sessions of an earlier start: whole sessions, for there are fewer processes now; and filters."""

from collections.abc import Collection, Sequence
from typing import cast

import redis

from routemq.queues import Keys

MOST_PROCESSES = 64


def left_behind(client: "redis.Redis", keys: Keys, *, client_id_base: str, processes: int) -> Sequence[int]:
    """Return the indexes of processes that were not drained; the MQTT broker may hold messages for them.

    Raises:
        redis.RedisError: Redis cannot say.
    """
    indexes = range(processes, MOST_PROCESSES)
    with client.pipeline(transaction=False) as pipe:
        for index in indexes:
            pipe.exists(keys.subscriptions(f"{client_id_base}-{index}"))
        found = pipe.execute()
    return [index for index, there in zip(indexes, found, strict=True) if there]


def forgotten_filters(
    client: "redis.Redis", keys: Keys, *, client_id: str, filters: Collection[str]
) -> Collection[str]:
    """Note the filters of a session; return those that it has from an earlier release of the application.

    Raises:
        redis.RedisError: Redis cannot say.
    """
    key = keys.subscriptions(client_id)
    known = {member.decode() for member in cast("set[bytes]", client.smembers(key))}
    stale = known - set(filters)
    if stale:
        client.srem(key, *stale)
    if set(filters) - known:
        client.sadd(key, *filters)
    return stale
