"""What a worker answers to `celery inspect` and `celery control`, where Celery's own answer would be wrong here."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import redis
from celery import bootsteps
from celery.worker import control
from celery.worker.consumer.control import Control

from routemq.connections import connect_redis
from routemq.errors import RouteMQError
from routemq.queues import Keys, expand_queues
from routemq.waiting import Waiting, find_waiting, first_waiting

logger = logging.getLogger(__name__)

MOST_SHOWN = 100
"""Of what waits, `inspect scheduled` shows what is due first."""

_SEARCH_S = 0.5
_PRIORITY = 6
"""Of Celery's own timers, which wait for the same in a worker's memory."""


class RemoteControl(bootsteps.StartStopStep):
    """Answers for our app alone: Celery keeps its answers for all apps in one table."""

    requires = ("celery.worker.consumer.control:Control",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        node = parent.blueprint[Control.name].box.node
        node.handlers = {**node.handlers, **_ANSWERS}


def add_consumer(state: Any, queue: str, **_options: Any) -> dict[str, str]:
    """Consume a queue and those under it."""
    return _for_each(state, queue, control.add_consumer)


def cancel_consumer(state: Any, queue: str, **_options: Any) -> dict[str, str]:
    """Consume a queue and those under it no more."""
    return _for_each(state, queue, control.cancel_consumer)


def scheduled(state: Any, **options: Any) -> list[dict[str, Any]]:
    """Return what waits for its time, in this worker and in Redis."""
    found: list[dict[str, Any]] = control.scheduled(state, **options)
    with _redis_of(state) as client:
        waiting = first_waiting(client, Keys(state.app.settings.key_prefix), _consumed(state), most=MOST_SHOWN)
        found += [{"eta": _eta(each.due_at), "priority": _PRIORITY, "request": _info(each)} for each in waiting]
    return found


def query_task(state: Any, ids: Any, **options: Any) -> dict[str, Any]:
    """Return what is known of tasks, also of those that wait in Redis."""
    wanted = [ids] if isinstance(ids, str) else list(ids)
    found: dict[str, Any] = control.query_task(state, ids=wanted, **options)
    missing = [each for each in wanted if isinstance(each, str) and each not in found]
    with _redis_of(state) as client:
        keys = Keys(state.app.settings.key_prefix)
        for each in find_waiting(client, keys, _consumed(state), missing, within_s=_SEARCH_S):
            found[each.id] = "scheduled", _info(each)
    return found


_ANSWERS: dict[str, Callable[..., Any]] = {
    "add_consumer": add_consumer,
    "cancel_consumer": cancel_consumer,
    "scheduled": scheduled,
    "dump_schedule": scheduled,
    "query_task": query_task,
}


def _for_each(state: Any, queue: object, answer: Callable[..., dict[str, str]]) -> dict[str, str]:
    try:
        names = expand_queues([str(queue)], state.app.queues)
    except RouteMQError as exc:
        return {"error": str(exc)}
    return {"ok": ", ".join(answer(state, name)["ok"] for name in names)}


@contextmanager
def _redis_of(state: Any) -> Iterator["redis.Redis"]:
    # The worker has to go on: what Redis cannot say now is not part of the answer.
    client = connect_redis(state.app.settings, timeout_s=1.0)
    try:
        yield client
    except redis.RedisError as exc:
        logger.warning("what waits for its time is not part of an answer: %s", exc)
    finally:
        client.close()


def _consumed(state: Any) -> list[str]:
    return list(state.app.amqp.queues.consume_from)


def _eta(due_at: float) -> str | None:
    try:
        return datetime.fromtimestamp(due_at, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        # Beyond every calendar.
        return None


def _info(waiting: Waiting) -> dict[str, Any]:
    headers, properties = waiting.headers, waiting.properties
    # As Celery describes a request.
    return {
        "id": headers.get("id"),
        "name": headers.get("shadow") or headers.get("task"),
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "type": headers.get("task"),
        "hostname": None,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": waiting.queue,
            "priority": properties.get("priority"),
            "redelivered": False,
        },
        "worker_pid": None,
    }
