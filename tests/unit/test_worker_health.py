"""What a worker says of itself, by what can be read of it from beside."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import gevent, prefork, solo
from celery.worker import state
from routemq_tasks.reports import watched
from routemq_tasks.thread_pool import ThreadPool
from routemq_tasks.worker_health import worker_health


@pytest.mark.parametrize(
    ("pool", "is_a_stall"),
    [
        (prefork.TaskPool, True),
        (ThreadPool, True),
        (watched(ThreadPool.__mro__[1]), True),
        (watched(solo.TaskPool), False),
        (watched(gevent.TaskPool), False),
    ],
)
def test_a_loop_that_stands_still_beside_a_run_is_a_stall_where_the_run_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch, pool: type[Any], is_a_stall: bool
) -> None:
    monkeypatch.setattr(state, "active_requests", {object()})
    connection = SimpleNamespace(connected=True, transport=SimpleNamespace(channels=[]))
    consumer = SimpleNamespace(trouble=None, connection=connection, turned_at=time.monotonic() - 1000)
    lifespan = SimpleNamespace(word=SimpleNamespace(problem=None))
    worker = SimpleNamespace(pool=pool.__new__(pool), consumer=consumer, app=SimpleNamespace(lifespan=lifespan))
    worker.pool._pool = None
    health = worker_health(worker)
    assert (health.alive, health.ready) == (not is_a_stall, not is_a_stall)
    assert ("its loop has not turned" in (health.problem or "")) == is_a_stall
