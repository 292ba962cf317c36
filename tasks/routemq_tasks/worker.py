"""The worker program: which queues it serves, with how many hands."""

from typing import TYPE_CHECKING, Any

import click
import redis
from celery.apps.worker import Worker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.utils.log import mlevel
from click.core import ParameterSource

from routemq.connections import check_redis, connect_redis
from routemq.dead_letters.redaction import Redaction
from routemq.errors import RouteMQError
from routemq.queues import expand_queues
from routemq_tasks.concurrency import choose_concurrency
from routemq_tasks.prefork import RouteTaskPool
from routemq_tasks.worker_log import quiet_per_message_logs

if TYPE_CHECKING:
    from routemq_tasks.app import RouteMQCelery


class RouteWorker(Worker):
    """Celery's worker with the application's word on queues and concurrency.

    Raises:
        click.ClickException: A queue that no route uses, a controller that cannot be loaded, a Redis that is too old:
            one line for the operator, and an exit code that is not 0.
    """

    app: "RouteMQCelery"

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        self.app = app or self.app
        try:
            options["queues"] = self._expanded(options.get("queues"))
            excluded = self._expanded(options.get("exclude_queues") or [], empty=[])
            options["exclude_queues"] = excluded
            consumed = [queue for queue in options["queues"] if queue not in excluded]
            self._load_controllers(consumed)
            # Made again in each process; a hook that is not there is an error now.
            Redaction.of(self.app.settings)
            _check_server(self.app.settings)
        except RouteMQError as exc:
            raise click.ClickException(str(exc)) from exc
        if not consumed:
            raise click.ClickException("-X leaves this worker no queue")
        # Celery's command line says `pool`, its constructor takes both.
        pool = get_implementation(options.get("pool") or options.get("pool_cls") or self.app.conf.worker_pool)
        options["pool"] = RouteTaskPool if pool is PreforkPool else pool
        self._set_concurrency(options, consumed)
        self._set_log_level(options)
        super().__init__(app=self.app, hostname=hostname, **options)

    def _expanded(self, requested: Any, *, empty: list[str] | None = None) -> list[str]:
        known = list(self.app.router.queues)
        names = requested.split(",") if isinstance(requested, str) else list(requested or [])
        if not names:
            return sorted(known) if empty is None else empty
        return expand_queues(names, known)

    def _load_controllers(self, consumed: list[str]) -> None:
        # Before the pool forks: a controller that is not there is an error at start, and its modules are shared.
        for route in self.app.router.routes:
            if route.queue in consumed:
                self.app.tasks[route.name].load()

    def _set_concurrency(self, options: dict[str, Any], consumed: list[str]) -> None:
        by_hand = options.get("concurrency") or self.app.conf.worker_concurrency or options.get("autoscale")
        if by_hand:
            return
        can_scale = _can_scale(options["pool"])
        chosen = choose_concurrency(self.app.settings, self.app.router.queues, consumed, can_scale=can_scale)
        options["concurrency"], options["autoscale"] = chosen.count, chosen.autoscale

    def _set_log_level(self, options: dict[str, Any]) -> None:
        if not _given_by_hand("loglevel"):
            options["loglevel"] = self.app.settings.log_level
        options["loglevel"] = level = mlevel(options["loglevel"])
        quiet_per_message_logs(level)


def _can_scale(pool: Any) -> bool:
    # The prefork pool gets its `grow` when it starts.
    return issubclass(pool, PreforkPool) or hasattr(pool, "grow")


def _given_by_hand(option: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and context.get_parameter_source(option) in (
        ParameterSource.COMMANDLINE,
        ParameterSource.ENVIRONMENT,
    )


def _check_server(settings: Any) -> None:
    client = connect_redis(settings)
    try:
        check_redis(client)
    except redis.RedisError:
        # Not there yet: Celery waits for it, and the consumer checks it then.
        return
    finally:
        client.close()
