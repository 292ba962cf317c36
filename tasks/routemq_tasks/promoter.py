"""Retries that are due go back to their queues."""

import logging
import threading
from collections.abc import Callable

import redis

from routemq.connections import connect_redis
from routemq.lifecycle.moves import Moves
from routemq.logs import say
from routemq.queues import Keys
from routemq.refusals import explain
from routemq.settings import Settings

logger = logging.getLogger(__name__)

_LEAST_PAUSE_S = 0.1
_MOST_PAUSE_S = 0.5
"""A retry that some other worker put there may come due before anything that was seen here."""


class RetryPromoter(threading.Thread):
    """Wakes when the next retry of its queues is due; outlives a restart of Redis."""

    def __init__(self, settings: Settings, queues: Callable[[], list[str]]) -> None:
        super().__init__(name="routemq-retries", daemon=True)
        self._moves = Moves(connect_redis(settings), Keys(settings.key_prefix))
        self._queues = queues
        self._stopped = threading.Event()

    def run(self) -> None:
        pause_s = 0.0
        away = False
        while not self._stopped.wait(pause_s):
            try:
                next_due_s = self._moves.promote(self._queues())
            except redis.RedisError as exc:
                if not away:
                    say(logger, logging.WARNING, "due retries wait: %s", explain(exc))
                away, pause_s = True, _MOST_PAUSE_S
                continue
            # A thread that ends would let no retry come due any more, and tell nobody.
            except Exception:  # noqa: BLE001
                say(logger, logging.ERROR, "due retries wait, trying again", exc_info=True)
                pause_s = _MOST_PAUSE_S
                continue
            away = False
            pause_s = _MOST_PAUSE_S if next_due_s is None else min(_MOST_PAUSE_S, max(_LEAST_PAUSE_S, next_due_s))

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()
