"""kombu's Redis client, which asks no more of a server than to be there."""

from typing import Any

import redis
from kombu.transport import redis as stock


class _Modest:
    connection_pool: Any

    def ping(self, **_options: Any) -> bool:
        """Connect: kombu asks so whether a server is there.

        A user may not be allowed PING, and a server whose disk is full refuses it to all.
        """
        self.connection_pool.release(self.connection_pool.get_connection())
        return True

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        """Send the commands together, but never in a MULTI, in which a full server refuses even to count or delete.

        None of kombu's needs one: each is declared, counted or deleted again as well.
        """
        return super().pipeline(False, shard_hint)  # type: ignore[misc]  # of the client that this is mixed into


class ModestClient(_Modest, redis.Redis):
    """Without a key prefix."""


class PrefixedClient(_Modest, stock.PrefixedStrictRedis):
    """With kombu's `global_keyprefix`."""
