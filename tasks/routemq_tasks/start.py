"""What is looked at before a worker starts, so that one that cannot work says so at once."""

from typing import Any

import click
import redis

from routemq.alerts.delivery import Delivery
from routemq.connections import check_redis, connect_redis
from routemq.dead_letters.redaction import Redaction
from routemq.errors import RouteMQError
from routemq.eviction import EvictionWatch
from routemq.queues import expand_queues
from routemq_tasks.application import Application


def check_start(app: Application, requested: Any, excluded: Any) -> tuple[list[str], list[str]]:
    """Return the queues of `-Q` and of `-X`, expanded.

    Raises:
        click.ClickException: A queue that no route uses or that has no name, a controller that cannot be loaded, a
            Redis that is of no use: one line for the operator, and an exit code that is not 0.
    """
    known, names = sorted(app.queues), _names(requested)
    try:
        queues = expand_queues(names, known) if names else known
        left_out = expand_queues(_names(excluded), known)
        consumed = [queue for queue in queues if queue not in left_out]
        # Before the pool forks: a controller that is not there is an error at start, and its modules are shared.
        for route in app.router.routes:
            if route.queue in consumed:
                app.tasks[route.name].load()
        # Made again in each process; a hook that is not there is an error now.
        Redaction.of(app.settings)
        Delivery(app.settings)
        _check_server(app.settings)
    except RouteMQError as exc:
        raise click.ClickException(str(exc)) from exc
    if not consumed:
        raise click.ClickException("-X leaves this worker no queue")
    return queues, left_out


def before_detach() -> click.Option:
    """Return an option of `celery worker` that nobody gives: when the others are read, it looks at `--detach`.

    A detached worker has no terminal any more to say what is wrong, and Celery's command has ended with 0.
    """

    def check(context: click.Context, _option: click.Parameter, _value: object) -> None:
        given = context.params
        if given.get("detach"):
            check_start(context.obj.app, given.get("queues"), given.get("exclude_queues"))

    return click.Option(("--before-detach",), hidden=True, expose_value=False, callback=check)


def _names(requested: Any) -> list[str]:
    return requested.split(",") if isinstance(requested, str) else list(requested or [])


def _check_server(settings: Any) -> None:
    client = connect_redis(settings)
    try:
        check_redis(client)
        EvictionWatch(client, allowed=settings.allow_eviction).start()
    except redis.RedisError:
        # Not there yet: Celery waits for it, and the consumer checks it then.
        return
    finally:
        client.close()
