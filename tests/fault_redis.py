"""What may become of Redis without its death, and how it is mended."""

import contextlib
import random
from collections.abc import Callable, Sequence

import redis

from tests.failover import Pair

KINDS = ("redis demoted", "redis' disk full", "redis' memory full", "a foreign key")

_ASIDE = "aside:"


class Troubles:
    """One trouble at a time of a primary with a replica.

    Args:
        names: Keys that matter most, which may be there only now and then.
        restart_worker: Ends a worker, which is started again while the memory is full.
    """

    def __init__(
        self, pair: Pair, *, chance: random.Random, names: Sequence[str], restart_worker: Callable[[], None]
    ) -> None:
        self._pair, self._chance, self._names, self._restart_worker = pair, chance, names, restart_worker
        self._mend: Callable[[], None] | None = None

    @property
    def any(self) -> bool:
        return self._mend is not None

    def begin(self, kind: str) -> str | None:
        """Bring one about and return what it is; None when it is not possible now."""
        begin = {
            "redis demoted": self._demote,
            "redis' disk full": self._break_disk,
            "redis' memory full": self._fill_memory,
            "a foreign key": self._put_foreign_key,
        }[kind]
        # A replica that is not in step yet, a snapshot that is under way.
        with contextlib.suppress(AssertionError, redis.RedisError, OSError):
            return begin()
        return None

    def end(self) -> None:
        """Mend it."""
        if self._mend is not None:
            self._mend()
            self._mend = None

    def _demote(self) -> str:
        self._pair.demote()
        self._mend = self._pair.lead_to_primary
        return "redis demoted"

    def _break_disk(self) -> str:
        store = self._pair.primary
        store.break_disk()
        self._mend = store.mend_disk
        return "redis' disk full"

    def _fill_memory(self) -> str:
        with self._pair.primary.client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"])
        self._mend = self._free_memory
        self._restart_worker()
        return "redis' memory full, and a worker restarted"

    def _free_memory(self) -> None:
        with self._pair.primary.client() as client:
            client.config_set("maxmemory", 0)

    def _put_foreign_key(self) -> str:
        with self._pair.primary.client() as client:
            there = {key.decode() for key in client.scan_iter(count=1000)}
            # Each of our names, and every other time one of those that matter most.
            name = self._chance.choice(self._chance.choice([sorted(there), self._names]))
            kind = client.type(name)
            with client.pipeline(transaction=True) as pipe:
                if kind != b"none":
                    pipe.rename(name, f"{_ASIDE}{name}")
                if kind == b"string":
                    pipe.rpush(name, "of another program")
                else:
                    pipe.set(name, "of another program")
                pipe.execute()
        self._mend = lambda: self._take_foreign_key(name)
        return f"a foreign {'list' if kind == b'string' else 'string'} under {name}"

    def _take_foreign_key(self, name: str) -> None:
        with self._pair.primary.client() as client:
            was_there = client.exists(f"{_ASIDE}{name}")
            with client.pipeline(transaction=True) as pipe:
                pipe.delete(name)
                if was_there:
                    pipe.rename(f"{_ASIDE}{name}", name)
                pipe.execute()
