"""The one place where ingest writes messages to Redis."""

import redis

from routemq.counters import add_totals
from routemq.dead_letters import DeadLetters
from routemq.queues import Keys
from routemq_ingest.batch import Batch


class Publisher:
    """Sends a batch in one round trip."""

    def __init__(self, client: "redis.Redis", keys: Keys, dead_letters: DeadLetters) -> None:
        self._client, self._keys, self._dead_letters = client, keys, dead_letters

    def send(self, batch: Batch) -> dict[str, int]:
        """Queue and bury what the batch holds; return the length of each queue that got something.

        All or nothing, as far as Redis can: the transaction is refused as a whole when memory is full. What is known to
        have arrived is taken out of the batch, so that the same batch may be sent again.

        Raises:
            redis.RedisError: Not everything has arrived.
        """
        if batch.dead:
            self._dead_letters.bury_direct(batch.dead)
            batch.dead = []
        if not batch.received:
            return {}
        queues = list(batch.items)
        pipe = self._client.pipeline(transaction=True)
        for queue in queues:
            pipe.lpush(self._keys.queue(queue), *batch.items[queue])
        add_totals(pipe, self._keys, "received", batch.received)
        results = pipe.execute(raise_on_error=False)
        batch.received = {}
        lengths: dict[str, int] = {}
        failure: Exception | None = None
        for queue, result in zip(queues, results, strict=False):
            if isinstance(result, Exception):
                failure = result
            else:
                lengths[queue] = result
                del batch.items[queue]
        if failure is not None:
            raise failure
        return lengths
