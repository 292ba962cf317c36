"""dramatiq, over Redis, as its guide has it."""

import os

import dramatiq
import work
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def run(topic: str, payload: str) -> None:
    """Run one message."""
    work.run(topic, payload)


enqueue = run.send
