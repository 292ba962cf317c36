"""The Celery app: one task per route."""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

import click
from celery import Celery, signals
from celery.exceptions import QueueNotFound
from kombu.utils.objects import cached_property
from routemq_transport import install
from routemq_transport.items import Item

from routemq.discovery import load_router
from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import Settings
from routemq_tasks.broker import BrokerSettings, Loader, check_settings
from routemq_tasks.configuration import celery_configuration
from routemq_tasks.eviction import EvictionWatching
from routemq_tasks.execution import RouteTask
from routemq_tasks.gate import Gate, GateKeeping
from routemq_tasks.health import HealthKeeping
from routemq_tasks.held import Held
from routemq_tasks.outcomes import PATIENCE_S
from routemq_tasks.own_tasks import load_own_tasks
from routemq_tasks.presence import AlertKeeping, PresenceKeeping
from routemq_tasks.process import ProcessResources
from routemq_tasks.promoter import RetryPromotion
from routemq_tasks.remote_control import RemoteControl
from routemq_tasks.retention import RetentionKeeping
from routemq_tasks.start import before_detach
from routemq_tasks.stopping import Stopping
from routemq_tasks.timings import Timings
from routemq_tasks.worker_log import quiet_per_message_logs


class RouteMQCelery(Celery):
    """A Celery app whose tasks are the routes of an application.

    Args:
        settings: Read at the front door.
        router: The application's routes.
    """

    amqp_cls = "routemq_transport.connection:AMQP"
    events_cls = "routemq_tasks.upstream.events:RouteEvents"
    log_cls = "routemq_tasks.worker_log:WorkerLogging"
    conf: Any

    def __init__(self, settings: Settings, router: Router) -> None:
        changes = celery_configuration(settings, router.queues)
        super().__init__("routemq", loader=Loader, changes=changes, set_as_current=False)
        self.on_after_configure.connect(self._keep_broker, weak=False)
        self.settings, self.router = settings, router
        self.timings = Timings()
        self.stopping = Stopping()
        self.gate = Gate(router.routes)
        self._process: ProcessResources | None = None
        self._process_lock, self._pid = threading.Lock(), os.getpid()
        self.steps["worker"].add(RetentionKeeping)
        self.steps["worker"].add(GateKeeping)
        self.steps["worker"].add(EvictionWatching)
        self.steps["worker"].add(PresenceKeeping)
        self.steps["worker"].add(AlertKeeping)
        self.steps["worker"].add(HealthKeeping)
        self.steps["consumer"].add(RemoteControl)
        self.user_options["worker"].add(before_detach())
        _choose_transport(self)
        self.finalize()
        for route in router.routes:
            self.register_task(RouteTask(route))
        # The pool sends these in its children, and in the worker's own process when it has none.
        signals.worker_process_init.connect(self._forget_process, weak=False)
        signals.worker_process_shutdown.connect(self._close_process, weak=False)
        signals.worker_shutting_down.connect(self._stop_soon, weak=False)
        signals.worker_shutdown.connect(self._worker_ended, weak=False)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  Celery's name
        """The worker program of this app."""
        return self.subclass_with_self("routemq_tasks.worker:RouteWorker")

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Take settings that follow a command, unless they would move the broker."""
        try:
            check_settings(argv, self.conf.broker_url)
        except RouteMQError as exc:
            raise click.UsageError(str(exc)) from exc
        super().config_from_cmdline(argv, namespace)

    @property
    def queues(self) -> dict[str, int]:
        """Every queue with the concurrency it asks for; one of the application's own tasks asks for one."""
        known = {queue.name: 1 for queue in self.conf.task_queues}
        return known | dict(self.router.queues)

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a task, and say what helps if nobody would run it."""
        try:
            return super().send_task(name, *args, **options)
        except QueueNotFound as exc:
            raise QueueNotFound(
                f"{exc.args[0]}: no route uses it, and no task in the modules of ROUTEMQ_TASKS ({name})"
            ) from exc

    @property
    def process(self) -> ProcessResources:
        """What the messages of this process share, made on first use, and again after a fork."""
        process = self._process
        if process is not None and process.pid == os.getpid():
            return process
        with self._process_lock:
            if self._process is None or self._process.pid != os.getpid():
                self._process = ProcessResources(self.settings, self.stopping)
            return self._process

    def refuse(self, item: Item, error: Exception) -> None:
        """Have it recorded what becomes of a message that the transport cannot hand to Celery."""
        worker = f"{os.getpid()}@{socket.gethostname()}"
        self.process.outcomes.settle(Held.of_item(item, worker=worker), error, patience_s=PATIENCE_S)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool child that was spawned, not forked, gets the app anew.
        return _app_again, (self.settings,)

    def _keep_broker(self, **_signal: Any) -> None:
        self.conf = BrokerSettings.of(self.conf)

    def _stop_soon(self, **_signal: Any) -> None:
        self.stopping.begin()

    def _forget_process(self, **_signal: Any) -> None:
        if self._pid == os.getpid():
            # A pool without children says it too, of another app's worker perhaps.
            return
        # The lock may have been held by another thread when this child was forked.
        self._process_lock, self._pid = threading.Lock(), os.getpid()
        self._process = None

    def _worker_ended(self, sender: Any, **_signal: Any) -> None:
        if sender.app is self:
            self._close_process()

    def _close_process(self, **_signal: Any) -> None:
        process, self._process = self._process, None
        if process is not None and process.pid == os.getpid():
            process.close()


def _choose_transport(app: RouteMQCelery) -> None:
    """Carry the messages over the transport of `ROUTEMQ_TRANSPORT`."""
    if app.settings.transport == "routemq":
        install(app, app.refuse)
    else:
        # Celery's own transport knows nothing of the delayed sets.
        app.steps["worker"].add(RetryPromotion)


def _app_again(settings: Settings) -> RouteMQCelery:
    # Celery hands its level to its children by this variable.
    quiet_per_message_logs(int(os.environ.get("CELERY_LOG_LEVEL") or logging.INFO))
    app = RouteMQCelery(settings, load_router(settings.routers))
    load_own_tasks(app)
    return app
