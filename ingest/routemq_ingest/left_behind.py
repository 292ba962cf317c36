"""MQTT sessions that ingest processes of this host left behind, for there are fewer of them now."""

from collections.abc import Sequence

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
