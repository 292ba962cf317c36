"""The application's own Celery tasks, beside its routes: where they are, and on which queues they wait."""

from collections.abc import Iterator
from typing import Any

from celery.app.routes import MapRoute, prepare
from kombu.entity import Exchange, Queue

from routemq.discovery import import_tasks
from routemq.errors import ConfigurationError
from routemq.queues import FALLBACK_QUEUE, queue_problem
from routemq_tasks.application import Application
from routemq_tasks.execution import RouteTask

CANVAS_TASKS = frozenset({"celery.map", "celery.starmap", "celery.chunks"})
"""Celery's own tasks that run a task many times in one message, and need no result backend."""


def load_own_tasks(app: Application) -> None:
    """Import the modules of ROUTEMQ_TASKS, and let the app know their queues.

    Raises:
        DiscoveryError: A module is not there, or cannot be imported.
        ConfigurationError: A queue has a name that it cannot have.
    """
    modules = app.settings.task_modules
    import_tasks(modules)
    if not modules:
        return
    known = {queue.name: queue for queue in app.conf.task_queues or ()}
    make_queue: Any = Queue  # Kombu has no types
    make_exchange: Any = Exchange
    anonymous = make_exchange("", type="direct")
    # Without a queue for what names none Celery would not even run a task again.
    named = [FALLBACK_QUEUE, *_queues_of_tasks(app, modules), *_queues_of_routes(app.conf.task_routes)]
    for queue in [*app.router.queues, *named]:
        name = str(getattr(queue, "name", queue))
        problem = queue_problem(name)
        if problem is not None:
            raise ConfigurationError(
                variable="ROUTEMQ_TASKS", value=",".join(modules), allowed=f"other names: {problem}"
            )
        if name not in known:
            known[name] = make_queue(name, exchange=anonymous, routing_key=name) if name == queue else queue
    app.conf.task_queues = [known[name] for name in sorted(known)]


def _queues_of_tasks(app: Application, modules: tuple[str, ...]) -> Iterator[Any]:
    for task in app.tasks.values():
        # Tasks of other modules may be other apps', which Celery shares with all.
        ours = any(task.__module__ == module or task.__module__.startswith(f"{module}.") for module in modules)
        queue = getattr(task, "queue", None)
        if ours and queue and not isinstance(task, RouteTask):
            yield queue


def _queues_of_routes(routes: Any) -> Iterator[Any]:
    """Give the queues that Celery's setting `task_routes` names; what a function of it returns is not known."""
    for router in prepare(routes):
        if isinstance(router, MapRoute):
            for target in (*router.map.values(), *router.patterns.values()):
                queue = target if isinstance(target, (str, Queue)) else dict(target).get("queue")
                if queue:
                    yield queue
