"""One route whose messages take no time, or long, or end their process, so that they come in bundles to a child."""

import os
import signal
import time
from collections.abc import Callable

import redis

from routemq import Message, Reject, RetryPolicy, Router

_PREFIX = os.environ.get("ROUTEMQ_KEY_PREFIX", "")
_redis = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://unused"), socket_timeout=5)

_ENDS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda: os._exit(0),
}


def act(kind: str, payload: float, message: Message) -> None:
    _redis.hincrby(f"{_PREFIX}runs:{kind}", message.id, 1)
    time.sleep(payload)
    if kind == "reject":
        raise Reject("not for us")
    _ENDS.get(kind, lambda: None)()


router = Router()
router.on("bundles/{kind}", act, queue="bundles", worker_count=2, retry=RetryPolicy(base_delay_s=0.1))
