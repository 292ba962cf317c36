"""From the consumer to the pool: how a message of a route takes this way, on which nothing is decided."""

import logging
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.worker import strategy

from routemq_tasks.gathering import Gathering
from routemq_tasks.request import RouteRequest


def route_strategy(task: Any, app: Any, consumer: Any) -> Callable[..., None]:
    """Return what hands a message of a route to the pool; Celery asks for it with each connection.

    Of a message, and of who listens, this does what Celery's own strategy does. Whatever is not plain is that one's: a
    time before which it must not run, or after which it need not; a limit of the route's rate; a command to revoke it;
    a line in the log for each.
    """
    usual = strategy.default(task, app, consumer)
    name, hostname, connection_errors = task.name, consumer.hostname, consumer.connection_errors
    eventer, handle = consumer.event_dispatcher, consumer.on_task_request
    sends_events = bool(eventer and eventer.enabled and task.send_events)
    is_logged = logging.getLogger(strategy.__name__).isEnabledFor(logging.INFO)
    route = task.route
    gathering = Gathering(route.batch, consumer) if route.gathers else None
    revoked, received = consumer.controller.state.revoked, signals.task_received

    def receive(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        headers = message.headers
        if (
            ((is_logged or callbacks) and gathering is None)
            or headers["eta"] is not None
            or headers["expires"] is not None
            or headers["id"] in revoked
            or (not consumer.disable_rate_limits and consumer.task_buckets[name] is not None)
        ):
            usual(message, body, ack, reject, callbacks)
            return
        request = RouteRequest.of_checked(
            message,
            on_ack=ack,
            on_reject=reject,
            app=app,
            hostname=hostname,
            eventer=eventer,
            task=task,
            connection_errors=connection_errors,
        )
        request.consumer = consumer
        if received.receivers:
            received.send(sender=consumer, request=request)
        if sends_events:
            request.send_event(
                "task-received",
                name=name,
                args=request.argsrepr,
                kwargs=request.kwargsrepr,
                root_id=request.root_id,
                parent_id=None,
                retries=headers["retries"],
                eta=None,
                expires=None,
            )
        request.enter_pool()
        if gathering is None or headers["routemq"]["strikes"] or any(headers["timelimit"]):
            handle(request)
            return
        for callback in callbacks:
            callback(request)
        gathering.add(request)

    return receive
