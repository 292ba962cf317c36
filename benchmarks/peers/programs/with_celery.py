"""Celery, over its own transport for Redis or another's: `SETTINGS` says what is not its default."""

import json
import os

import work
from celery import Celery

app = Celery("peer", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
app.conf.update(json.loads(os.environ.get("SETTINGS", "{}")))

task = app.task(name="run")(work.run)


def enqueue(topic: str, payload: str) -> None:
    """Put one message."""
    task.apply_async((topic, payload))
