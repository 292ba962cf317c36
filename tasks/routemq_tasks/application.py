"""What every part of a worker knows of its app: the settings, the routes, and what the messages of a process share."""

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from celery import Celery, signals
from celery.exceptions import QueueNotFound
from routemq_transport.items import Item

from routemq.lifecycle.scripts import script_text
from routemq.metrics.timings import Timings
from routemq.routing import Router
from routemq.settings import Settings
from routemq_tasks.broker_settings import BrokerSettings, Loader
from routemq_tasks.configuration import celery_configuration
from routemq_tasks.gate import Gate, Stopping
from routemq_tasks.held import Held
from routemq_tasks.lifespan import Lifespan
from routemq_tasks.outcomes import PATIENCE_S, Outcomes
from routemq_tasks.process import ProcessResources, outcomes_of

_FOR_EVER_S = 1e6
_LONGEST_CLOSE_S = 10.0


class Application(Celery):
    """A Celery app of an application with routes; `RouteMQCelery` puts its tasks and the worker's parts in.

    Args:
        settings: Read at the front door.
        router: The application's routes.
    """

    conf: Any

    def __init__(self, settings: Settings, router: Router) -> None:
        changes = celery_configuration(settings, router.queues)
        if router.starts:
            # A child is up when the application's hooks have succeeded, and Celery would kill it before.
            changes["worker_proc_alive_timeout"] = _FOR_EVER_S
        super().__init__("routemq", loader=Loader, changes=changes, set_as_current=False)
        self.on_after_configure.connect(self._keep_broker, weak=False)
        self.settings, self.router = settings, router
        # Celery's `tasks`, for which it asks at each message whether there is more to make of them.
        self.registry: Mapping[str, Any] = {}
        self.timings = Timings()
        self.stopping = Stopping()
        self.gate = Gate(router.routes)
        close_s = min(_LONGEST_CLOSE_S, settings.shutdown_grace_s / 2)
        self.lifespan = Lifespan(router.starts, self.stopping, close_s=close_s)
        self._process: ProcessResources | None = None
        self._outcomes: Outcomes | None = None
        self._of_children: Outcomes | None = None
        self._process_lock, self._pid = threading.Lock(), os.getpid()
        # The pool sends these in its children, and in the worker's own process when it has none.
        signals.worker_process_init.connect(self._forget_process, weak=False)
        signals.worker_process_shutdown.connect(self._close_process, weak=False)
        signals.worker_shutting_down.connect(self._stop_soon, weak=False)
        signals.worker_shutdown.connect(self._worker_ended, weak=False)

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
                # Those of a child are not its own children's: what a controller forks may ask, too.
                outcomes, self._outcomes = self._outcomes, None
                self._process = ProcessResources(self.settings, self.stopping, outcomes=outcomes)
            return self._process

    def before_fork(self) -> None:
        """Make what each child would make anew, in memory of its own, and what no other process may use."""
        self._of_children = outcomes_of(self.settings, self.stopping)
        for name in ("retry_later", "bury"):
            script_text(name)

    def refuse(self, item: Item, error: Exception) -> None:
        """Have it recorded what becomes of a message that the transport cannot hand to Celery."""
        worker = f"{os.getpid()}@{socket.gethostname()}"
        self.process.outcomes.settle(Held.of_item(item, worker=worker), error, patience_s=PATIENCE_S)

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
        self._process, self._outcomes = None, self._of_children

    def _worker_ended(self, sender: Any, **_signal: Any) -> None:
        if sender.app is self:
            self._close_process()

    def _close_process(self, **_signal: Any) -> None:
        process, self._process = self._process, None
        if process is not None and process.pid == os.getpid():
            # It may publish, or use the loop.
            self.lifespan.close(process.loop)
            process.close()
        self.log.tell_counts()
