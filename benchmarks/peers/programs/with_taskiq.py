"""taskiq, over a list and over a stream of Redis.

Its documentation has asynchronous tasks as the usual kind, and recommends a faster event loop and serializer
(extras `uv` and `orjson`).
"""

import os

import work
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisStreamBroker

KINDS = {"list": ListQueueBroker, "stream": RedisStreamBroker}

broker = KINDS[os.environ["SETTINGS"]](url=os.environ["REDIS_URL"]).with_serializer(ORJSONSerializer())


@broker.task(task_name="run")
async def run(topic: str, payload: str) -> None:
    """Run one message."""
    work.run(topic, payload)


async def startup() -> None:
    """Connect."""
    await broker.startup()


async def enqueue(topic: str, payload: str) -> None:
    """Put one message."""
    await run.kiq(topic, payload)
