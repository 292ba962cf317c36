"""A plain Celery application for the transport's tests: `TRANSPORT=ours` or Celery's own, `stock`."""

import json
import os
import signal
import time
from functools import cache
from pathlib import Path

import redis
from celery import Celery
from celery.worker.consumer import Consumer
from routemq_tasks.consumer import RouteConsumer
from routemq_tasks.held import Held
from routemq_tasks.outcomes import Outcomes
from routemq_transport import install

from routemq.dead_letters import DeadLetters
from routemq.queues import Keys


class PlainConsumer(RouteConsumer):
    """RouteMQ's consumer, for an application without its settings."""

    connect = Consumer.connect


app = Celery("transport-tests", broker=os.environ["BROKER"])
app.conf.update(
    broker_transport_options=json.loads(os.environ.get("BROKER_OPTIONS", "{}")),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_use_ssl=json.loads(os.environ.get("BROKER_TLS", "null")),
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="first",
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_redirect_stdouts=False,
    worker_consumer=os.environ.get("CONSUMER", "celery.worker.consumer:Consumer"),
)
if os.environ.get("TRANSPORT", "ours") == "ours":
    install(app, lambda item, error: _outcomes().settle(Held.of_item(item, worker="test"), error))


@cache
def _outcomes() -> Outcomes:
    client = redis.Redis.from_url(os.environ["BROKER"])
    keys = Keys(json.loads(os.environ.get("BROKER_OPTIONS", "{}")).get("global_keyprefix", ""))
    return Outcomes(client, keys, dead_letters=DeadLetters(client, keys))


def _write(event: str, what: object) -> None:
    # One write, so that the lines of several processes do not mix.
    descriptor = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{json.dumps([event, what, time.time(), os.getpid()])}\n".encode())
    os.close(descriptor)


@app.task(name="run")  # type: ignore[misc]  # Celery has no types
def run(what: object, seconds: float = 0.0) -> None:
    """Write down that it ran."""
    _write("started", what)
    time.sleep(seconds)
    _write("done", what)


@app.task(name="wait")  # type: ignore[misc]  # Celery has no types
def wait(what: object) -> None:
    """Run until the test says so."""
    _write("started", what)
    released = Path(os.environ["RUNS"] + ".released")
    while not released.exists():
        time.sleep(0.02)
    _write("done", what)


@app.task(name="nothing")  # type: ignore[misc]  # Celery has no types
def nothing(_what: object) -> None:
    """Take no time: what is measured is what is around it."""


@app.task(name="kill")  # type: ignore[misc]  # Celery has no types
def kill(what: object) -> None:
    """End its process as a segmentation fault would."""
    _write("started", what)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="kill-parent")  # type: ignore[misc]  # Celery has no types
def kill_parent(what: object) -> None:
    """End the worker from a process of its pool."""
    _write("started", what)
    os.kill(os.getppid(), signal.SIGKILL)
    # The pool's process ends when it finds nobody to tell.
    time.sleep(0.5)
