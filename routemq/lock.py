"""What one process of a fleet does at a time: a lock in Redis, which expires with whoever is killed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis
from redis.client import Pipeline

from routemq.lifecycle.scripts import UnusableKeyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One holder's view of a lock.

    Attributes:
        name: The holder's; nobody else has it.
        lasts_s: So long it is held without being renewed.
    """

    client: "redis.Redis"
    key: str
    name: str
    lasts_s: int

    def take(self) -> bool:
        """Take it, or renew it; False when another process has it.

        Raises:
            UnusableKeyError: Another program's key is there, which would be waited for without end.
            redis.RedisError: Redis is away, or refuses.
        """
        if self.client.set(self.key, self.name, nx=True, ex=self.lasts_s):
            return True
        if self._while_held(lambda held: held.expire(self.key, self.lasts_s)):
            return True
        if self.client.ttl(self.key) == -1:
            raise UnusableKeyError({"key": self.key, "found": "key that stays", "wanted": "lock that expires"})
        return False

    @property
    def is_held(self) -> bool:
        """Whether this holder has it now."""
        return cast("bytes | None", self.client.get(self.key)) == self.name.encode()

    def release(self) -> None:
        """Let another process have it at once."""
        self._while_held(lambda held: held.delete(self.key))

    def _while_held(self, change: Callable[[Pipeline], object]) -> bool:
        """Change it, unless it has expired and is another's by now."""
        with self.client.pipeline() as pipe:
            pipe.watch(self.key)  # type: ignore[no-untyped-call]
            if not self.is_held:
                return False
            pipe.multi()
            change(pipe)
            try:
                pipe.execute()
            except redis.WatchError:
                return False
            return True
