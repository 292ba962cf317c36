"""Who holds a lock in Redis."""

from typing import Any

import redis
from redis.client import Pipeline

from routemq.lock import Lock
from tests.servers import Redis


class _Slow(redis.Redis):
    """A client for whom the lock goes to another between what it reads and what it writes."""

    key = ""

    def pipeline(self, *args: Any, **options: Any) -> Pipeline:
        pipe = super().pipeline(*args, **options)
        begin = pipe.multi

        def multi() -> None:
            self.set(self.key, "another", ex=100)
            begin()

        pipe.multi = multi  # type: ignore[method-assign]
        return pipe


def test_a_lock_that_has_gone_to_another_is_neither_renewed_nor_released(redis_server: Redis, key_prefix: str) -> None:
    with _Slow.from_url(redis_server.url) as slow, redis.Redis.from_url(redis_server.url) as client:
        slow.key = f"{key_prefix}lock"
        held = Lock(client=slow, key=slow.key, name="first", lasts_s=1000)
        assert held.take()
        assert not held.take()
        assert 0 < client.ttl(slow.key) <= 100
        client.set(slow.key, "first", ex=1000)
        held.release()
        assert client.get(slow.key) == b"another"
        sure = Lock(client=client, key=slow.key, name="another", lasts_s=1000)
        assert sure.take()
        assert client.ttl(slow.key) > 100
        sure.release()
        assert held.take()
