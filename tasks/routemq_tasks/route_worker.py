"""The worker program: which queues it serves, with how many hands."""

import logging
import threading
from typing import Any

import click
from celery.apps.worker import Worker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.utils.log import mlevel
from click.core import ParameterSource

from routemq.tracing.start_tracing import WORKER, start_tracing
from routemq_tasks.application import Application
from routemq_tasks.concurrency import choose_concurrency, within
from routemq_tasks.configuration import PREFETCH_MULTIPLIER
from routemq_tasks.reports import watched
from routemq_tasks.start import check_start
from routemq_tasks.upstream.prefork import RouteTaskPool
from routemq_tasks.worker_log import quiet_per_message_logs

logger = logging.getLogger(__name__)

_ENDS_WITHIN_S = 1.0
"""A process takes so long to end when nothing keeps it."""


class RouteWorker(Worker):
    """Celery's worker with the application's word on queues and concurrency.

    Raises:
        click.ClickException: See `check_start`.
    """

    app: Application

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        self.app = app or self.app
        queues, excluded = check_start(self.app, options.get("queues"), options.get("exclude_queues"))
        options["queues"], options["exclude_queues"] = queues, excluded
        # Before the pool forks, so that its modules are shared; after the application, which may make traces itself.
        start_tracing(WORKER)
        consumed = [queue for queue in queues if queue not in excluded]
        # Celery's command line says `pool`, its constructor takes both.
        pool = get_implementation(options.get("pool") or options.get("pool_cls") or self.app.conf.worker_pool)
        check_pool(pool)
        options["pool"] = RouteTaskPool if pool is PreforkPool else watched(pool)
        self._set_concurrency(options, consumed)
        self._set_prefetch(options, consumed)
        self._set_log_level(options)
        super().__init__(app=self.app, hostname=hostname, **options)

    def start(self) -> None:
        """Work until the end, which threads of the application may keep from coming."""
        super().start()
        timer = threading.Timer(_ENDS_WITHIN_S, _tell_of_threads)
        timer.daemon = True
        timer.start()

    def _set_concurrency(self, options: dict[str, Any], consumed: list[str]) -> None:
        can_scale, autoscale = _can_scale(options["pool"]), options.get("autoscale")
        if autoscale and not isinstance(autoscale, str):
            chosen = within(*autoscale, can_scale=can_scale)
        elif autoscale or options.get("concurrency") or self.app.conf.worker_concurrency:
            return
        else:
            chosen = choose_concurrency(self.app.settings, self.app.queues, consumed, can_scale=can_scale)
        options["concurrency"], options["autoscale"] = chosen.count, chosen.autoscale

    def _set_prefetch(self, options: dict[str, Any], consumed: list[str]) -> None:
        """Let a slot have room for a batch that runs, and one that is gathered, unless somebody has set another."""
        if options.get("prefetch_multiplier") not in (None, PREFETCH_MULTIPLIER) or _given_by_hand(
            "prefetch_multiplier"
        ):
            return
        if self.app.conf.worker_prefetch_multiplier != PREFETCH_MULTIPLIER:
            return
        routes = (route for route in self.app.router.routes if route.queue in consumed and route.gathers)
        sizes = (2 * route.batch.max_messages for route in routes if route.batch is not None)
        options["prefetch_multiplier"] = max(PREFETCH_MULTIPLIER, *sizes, 0)

    def _set_log_level(self, options: dict[str, Any]) -> None:
        if not _given_by_hand("loglevel"):
            options["loglevel"] = self.app.settings.log_level
        options["loglevel"] = level = mlevel(options["loglevel"])
        quiet_per_message_logs(level)


def _tell_of_threads() -> None:
    names = [each.name for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    logger.warning("the worker has ended, but its process waits for threads that are not daemons: %s", ", ".join(names))


def check_pool(pool: Any) -> None:
    """Refuse the pool that nobody tries here.

    Raises:
        click.ClickException: It is eventlet's.
    """
    if pool.__module__ == "celery.concurrency.eventlet":
        raise click.ClickException(
            "the pool eventlet is not supported, its own authors advise against new use: "
            "take -P gevent for what is def, or -P threads for what is async def"
        )


def _can_scale(pool: Any) -> bool:
    # The prefork pool gets its `grow` when it starts.
    return issubclass(pool, PreforkPool) or hasattr(pool, "grow")


def _given_by_hand(option: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(option) in (
        ParameterSource.COMMANDLINE,
        ParameterSource.ENVIRONMENT,
    )
