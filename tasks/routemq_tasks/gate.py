"""Which routes are paused, and whether the worker is stopping, as every process of it sees it."""

import mmap
from collections.abc import Sequence
from typing import cast

import redis

from routemq.lifecycle.scripts import UnusableKeyError
from routemq.paused import Pause, PausedRoutes
from routemq.queues import Keys
from routemq.refusals import code_of
from routemq.route import Route
from routemq_tasks.errors import PausedError


class Gate:
    """Which routes are paused, in memory that a worker shares with the processes of its pool; made before the pool is.

    The worker's own process writes it, each of its processes looks at it before each run.

    Attributes:
        resting: Queues that this worker will consume when their routes are resumed; known to its own process alone.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._places = {route.name: place for place, route in enumerate(routes)}
        self._closed = mmap.mmap(-1, max(1, len(routes)))
        self.resting: frozenset[str] = frozenset()

    def check(self, route: Route) -> None:
        """Return if messages of this route may be run now.

        Raises:
            PausedError: They may not.
        """
        place = self._places.get(route.name)
        if place is not None and self._closed[place]:
            raise PausedError(route)

    def refresh(self, client: "redis.Redis", keys: Keys) -> dict[str, Pause]:
        """Read which routes are paused, and return the pauses.

        Raises:
            redis.RedisError: They cannot be read; then those are paused that were before.
        """
        try:
            paused = PausedRoutes(client, keys).read(self._routes)
        except redis.ResponseError as exc:
            if code_of(exc) != "WRONGTYPE":
                raise
            found = cast("bytes", client.type(keys.paused_routes)).decode()
            raise UnusableKeyError({"key": keys.paused_routes, "found": found, "wanted": "hash"}) from None
        for name, place in self._places.items():
            self._closed[place] = name in paused
        return paused


class Stopping:
    """Whether the worker is stopping, in memory that a process shares with those it forks; made before the pool is."""

    def __init__(self) -> None:
        self._flag = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """What runs is ended, and nobody waits for Redis as long as else."""
        self._flag[0] = 1

    @property
    def begun(self) -> bool:
        return self._flag[0] == 1
