"""The application of the tests of Flower's pages: what runs is noted in Redis."""

import os

import redis
from pydantic import BaseModel

from routemq import Message, RetryPolicy, Router

_redis = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://unused"), socket_timeout=5)

ONCE = RetryPolicy(max_attempts=1)


class Reading(BaseModel):
    temperature: float


def keep(payload: Reading, message: Message) -> None:
    """Note what arrived."""
    _redis.rpush(f"{os.environ.get('ROUTEMQ_KEY_PREFIX', '')}kept", f"{message.topic} {payload.temperature}")


def ignore(payload: bytes) -> None:
    """No worker serves this queue."""


router = Router()
router.on("readings/{device_id}", keep, worker_count=2, retry=ONCE)
router.on("waiting/{device_id}", ignore, retry=ONCE)
router.on("lasting/{device_id}", ignore, retry=ONCE)
router.on("other/{device_id}", ignore, retry=ONCE)
router.on("crowded/{device_id}", ignore, retry=ONCE)
