"""A worker's eye on whether Redis may throw messages away."""

import logging
import threading
from typing import Any

import redis

from routemq.connections import connect_redis
from routemq.eviction import EvictionError, EvictionWatch
from routemq.refusals import explain
from routemq.settings import Settings
from routemq_tasks.companions import Companion

logger = logging.getLogger(__name__)

_LOOK_S = 30.0


class EvictionThread(threading.Thread):
    """Looks now and then and speaks; the worker goes on, which makes room."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="routemq-eviction", daemon=True)
        self._watch = EvictionWatch(connect_redis(settings), allowed=settings.allow_eviction)
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            try:
                self._watch.look()
            except EvictionError:
                # It was said by the watch.
                continue
            except redis.RedisError as exc:
                logger.debug("maxmemory-policy not looked at: %s", explain(exc))

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()


class EvictionWatching(Companion):
    """Looks from the worker's main process."""

    def make(self, parent: Any) -> EvictionThread:
        """Return what looks."""
        return EvictionThread(parent.app.settings)
