"""The Celery app: one task per route."""

import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import click
from kombu.utils.objects import cached_property
from routemq_transport import install, refuse_by

from routemq.discovery import load_router
from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import Settings
from routemq_tasks.application import Application
from routemq_tasks.broker_settings import check_settings
from routemq_tasks.companions import Companions
from routemq_tasks.execution import RouteTask
from routemq_tasks.own_tasks import load_own_tasks
from routemq_tasks.remote_control import RemoteControl
from routemq_tasks.start import before_detach
from routemq_tasks.upstream.listeners import guard_listeners
from routemq_tasks.worker_log import quiet_per_message_logs


class RouteMQCelery(Application):
    """A Celery app whose tasks are the routes of an application."""

    amqp_cls = "routemq_transport.amqp:AMQP"
    events_cls = "routemq_tasks.upstream.events:RouteEvents"
    log_cls = "routemq_tasks.worker_log:WorkerLogging"

    def __init__(self, settings: Settings, router: Router) -> None:
        super().__init__(settings, router)
        self.steps["worker"].add(Companions)
        self.steps["consumer"].add(RemoteControl)
        self.user_options["worker"].add(before_detach())
        if settings.transport == "routemq":
            install(self, self.refuse)
        else:
            refuse_by(self, self.refuse)
        guard_listeners()
        self.finalize()
        self.registry = self.tasks
        for route in router.routes:
            self.register_task(RouteTask(route))

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  Celery's name
        """The worker program of this app."""
        return self.subclass_with_self("routemq_tasks.route_worker:RouteWorker")

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Take settings that follow a command, unless they would move the broker."""
        try:
            check_settings(argv, self.conf.broker_url)
        except RouteMQError as exc:
            raise click.UsageError(str(exc)) from exc
        super().config_from_cmdline(argv, namespace)

    def bugreport(self) -> str:
        """Return what `celery report` prints, with our own version."""
        return f"{super().bugreport().rstrip()}\nroutemq-celery -> {version('routemq-celery')}\n"

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool child that was spawned, not forked, gets the app anew.
        return _app_again, (self.settings,)


def _app_again(settings: Settings) -> RouteMQCelery:
    # Celery hands its level to its children by this variable.
    quiet_per_message_logs(int(os.environ.get("CELERY_LOG_LEVEL") or logging.INFO))
    app = RouteMQCelery(settings, load_router(settings.routers))
    load_own_tasks(app)
    return app
