"""Keeps the dead letters within their limits: archives what is due."""

import logging
import threading
from collections.abc import Callable

import redis

from routemq.connections import connect_redis
from routemq.dead_letters.archive import ArchiveError
from routemq.dead_letters.retention import Retention, SweepError
from routemq.logs import say
from routemq.pauses import Reminders
from routemq.refusals import explain, is_silence
from routemq.settings import Settings
from routemq.text import error_line

logger = logging.getLogger(__name__)

_FIRST_S = 1.0
_SWEEP_S = 60.0
_SAY_AGAIN_S = 60.0


class RetentionKeeper(threading.Thread):
    """Sweeps each minute; outlives a restart of Redis."""

    def __init__(self, settings: Settings, *, sweep_s: float = _SWEEP_S) -> None:
        super().__init__(name="routemq-retention", daemon=True)
        self._retention = Retention(settings, connect_redis(settings))
        self._sweep_s = sweep_s
        self._reminders = Reminders(_SAY_AGAIN_S)
        self._stopped = threading.Event()

    def run(self) -> None:
        pause_s = min(_FIRST_S, self._sweep_s)
        while not self._stopped.wait(pause_s):
            pause_s = self._sweep_s
            self._try(self._retention.sweep)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except SweepError as exc:
            unforeseen = next((error for error in exc.failures.values() if not isinstance(error, ArchiveError)), None)
            self._say("%s; they stay in redis", error_line(exc), error=unforeseen)
        except redis.RedisError as exc:
            if is_silence(exc):
                say(logger, logging.DEBUG, "dead letters not looked after, redis is away: %s", error_line(exc))
            else:
                self._say("dead letters are not looked after: %s", explain(exc))
        # Whatever else it was: a thread that ends takes the limits with it, and tells nobody.
        except Exception as exc:  # noqa: BLE001
            self._say("dead letters are not looked after: %s", error_line(exc), error=exc)

    def _say(self, message: str, told: str, *, error: Exception | None = None) -> None:
        if self._reminders.speak(told):
            say(logger, logging.ERROR, message, told, exc_info=error)

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()
