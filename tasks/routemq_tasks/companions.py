"""The threads that live beside a worker's pool, in its main process."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

from celery import bootsteps
from celery.exceptions import WorkerShutdown

from routemq.alerts.wanted import alert_watch
from routemq.connections import connect_redis
from routemq.errors import ConfigurationError
from routemq.eviction import EvictionError, EvictionWatch
from routemq.metrics.http import HealthServer
from routemq.metrics.presence import Presence
from routemq.queues import Keys
from routemq.settings import Settings
from routemq.supervision.systemd import ServiceWatch, is_service
from routemq.text import error_line
from routemq_tasks.gate_keeper import GateKeeper
from routemq_tasks.load import LoadMeter, LoadWatch
from routemq_tasks.promoter import RetryPromoter
from routemq_tasks.retention_keeper import RetentionKeeper
from routemq_tasks.soft_stop import SoftStop
from routemq_tasks.worker_health import WorkerMetrics, worker_health
from routemq_tasks.worker_history import WorkerHistory
from routemq_tasks.worker_presence import WorkerPresence

logger = logging.getLogger(__name__)

_LOOK_S = 30.0


class Companion(Protocol):
    """A thread that ends when it is asked to."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End soon."""


class Companions(bootsteps.StartStopStep):
    """Starts the threads with the worker and stops them with it; after the pool: no child is forked with one."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._started = ExitStack()

    def start(self, parent: Any) -> None:
        """Begin."""
        # All are made before one runs: what is wrong with a setting ends the worker as if nothing had begun.
        try:
            companions = list(_companions(parent))
        except ConfigurationError as exc:
            logger.critical("%s", exc)
            raise WorkerShutdown(1) from exc
        for companion in companions:
            companion.start()
            self._started.callback(companion.stop)

    def stop(self, parent: Any) -> None:
        """End each, whatever becomes of the others."""
        self._started.close()

    terminate = stop


def _companions(worker: Any) -> Iterator[Companion]:
    app, settings = worker.app, worker.app.settings
    yield RetentionKeeper(settings)
    yield GateKeeper(settings, app, worker.consumer)
    if worker.autoscale:
        keys = Keys(settings.key_prefix)
        yield LoadWatch(LoadMeter(connect_redis(settings, timeout_s=2.0), keys, worker), worker)
    yield EvictionThread(settings)
    yield Presence(connect_redis(settings, timeout_s=2.0), Keys(settings.key_prefix), WorkerPresence(worker).report)
    if settings.history:
        yield WorkerHistory(app)
    watch = alert_watch(settings, app.router)
    if watch is not None:
        yield watch
    if settings.worker_health_port is not None:
        metrics = WorkerMetrics(worker, app.timings)
        yield HealthServer.on(
            settings.worker_health_port, lambda: worker_health(worker), metrics, variable="WORKER_HEALTH_PORT"
        )
    if is_service():
        yield ServiceWatch(lambda: worker_health(worker))
    if "shutdown_grace_s" in settings.model_fields_set:
        yield SoftStop(settings.shutdown_grace_s)
    if settings.transport == "stock":
        # Celery's own transport knows nothing of the delayed sets.
        queues = app.amqp.queues
        # Asked each time: an operator may let a running worker consume another queue.
        yield RetryPromoter(settings, lambda: list(queues.consume_from))


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
            # A thread that ends would look no more, and tell nobody.
            except Exception as exc:  # noqa: BLE001
                logger.debug("maxmemory-policy not looked at: %s", error_line(exc))

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._stopped.set()
