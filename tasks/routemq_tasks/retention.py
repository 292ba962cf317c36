"""Keeps the dead letters within their limits: archives what is due, and leaves the queues of full routes alone."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from celery import bootsteps

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetters
from routemq.dead_letters.archive import ArchiveError
from routemq.dead_letters.retention import Retention, SweepError
from routemq.refusals import code_of, explain
from routemq.settings import Settings
from routemq.text import error_line

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_SWEEP_S = 60.0
_SAY_AGAIN_S = 60.0


class RetentionKeeper(threading.Thread):
    """Looks for full routes each second and sweeps each minute; outlives a restart of Redis.

    Args:
        consumer: Celery's consumer; only its own thread touches it.
    """

    def __init__(self, settings: Settings, consumer: Any, *, sweep_s: float = _SWEEP_S) -> None:
        super().__init__(name="routemq-retention", daemon=True)
        client = connect_redis(settings)
        self._store, self._retention = DeadLetters.of(settings, client, buries=False), Retention(settings, client)
        self._consumer, self._sweep_s = consumer, sweep_s
        self._left_alone: set[str] = set()
        self._said: dict[str, float] = {}
        self._sweep_at = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            self._try(self._look)
            if time.monotonic() >= self._sweep_at:
                self._sweep_at = time.monotonic() + self._sweep_s
                self._try(self._retention.sweep)

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except SweepError as exc:
            unforeseen = next((error for error in exc.failures.values() if not isinstance(error, ArchiveError)), None)
            self._say("%s; they stay in redis", error_line(exc), error=unforeseen)
        except redis.RedisError as exc:
            if code_of(exc):
                self._say("dead letters are not looked after: %s", explain(exc))
            else:
                logger.debug("dead letters not looked after, redis is away: %s", error_line(exc))
        # Whatever else it was: a thread that ends takes the limits with it, and tells nobody.
        except Exception as exc:  # noqa: BLE001
            self._say("dead letters are not looked after: %s", error_line(exc), error=exc)

    def _say(self, message: str, told: str, *, error: Exception | None = None) -> None:
        """Log an error once a minute, however often it is met."""
        now = time.monotonic()
        if now >= self._said.get(told, -math.inf) + _SAY_AGAIN_S:
            self._said = {told: now} | {known: at for known, at in self._said.items() if now < at + _SAY_AGAIN_S}
            logger.error(message, told, exc_info=error)

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()

    def _look(self) -> None:
        full = self._store.full_routes()
        queues = set(full.values())
        consumed = set(self._consumer.app.amqp.queues.consume_from)
        for queue in sorted(queues & consumed):
            routes = ", ".join(route for route, its_queue in full.items() if its_queue == queue)
            logger.error(
                "queue %s is not consumed any more: %s has as many dead letters as it may; "
                "replay, discard or purge some", queue, routes, extra={"queue": queue},
            )  # fmt: skip
            self._left_alone.add(queue)
            self._consumer.call_soon(_leave_alone, self._consumer, queue)
        for queue in sorted(self._left_alone - queues):
            logger.warning("queue %s is consumed again", queue, extra={"queue": queue})
            self._left_alone.discard(queue)
            self._consumer.call_soon(_take_up, self._consumer, queue)


def _leave_alone(consumer: Any, queue: str) -> None:
    if consumer.task_consumer is None:
        # Not connected: it will consume what is selected when it is.
        consumer.app.amqp.queues.deselect(queue)
    else:
        consumer.cancel_task_queue(queue)


def _take_up(consumer: Any, queue: str) -> None:
    if consumer.task_consumer is None:
        queues = consumer.app.amqp.queues
        queues.select_add(queues[queue])
    else:
        consumer.add_task_queue(queue)


class RetentionKeeping(bootsteps.StartStopStep):
    """Runs the keeper in the worker's main process; after the pool, so that no child is forked with its thread."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._keeper: RetentionKeeper | None = None

    def start(self, parent: Any) -> None:
        self._keeper = RetentionKeeper(parent.app.settings, parent.consumer)
        self._keeper.start()

    def stop(self, parent: Any) -> None:
        if self._keeper is not None:
            self._keeper.stop()

    terminate = stop
