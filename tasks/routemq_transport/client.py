"""kombu's Redis client, which asks no more of a server than to be there."""

from typing import Any

import redis
from kombu.transport import redis as stock


class _Connecting:
    connection_pool: Any

    def ping(self, **_options: Any) -> bool:
        """Connect: kombu asks so whether a server is there.

        A user may not be allowed PING, and a server whose disk is full refuses it to all.
        """
        self.connection_pool.release(self.connection_pool.get_connection())
        return True


class Client(_Connecting, redis.Redis):
    """Without a key prefix."""


class PrefixedClient(_Connecting, stock.PrefixedStrictRedis):
    """With kombu's `global_keyprefix`."""
