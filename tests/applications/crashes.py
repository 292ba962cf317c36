"""The application of the crash tests: a controller that succeeds, one that is run again, one that dies."""

import os

import redis

from routemq import Message, Reject, RetryPolicy, Router

_PREFIX = os.environ.get("ROUTEMQ_KEY_PREFIX", "")
# Around the proxy: what was done is written down also while the worker's own connections are being cut.
_notes = redis.Redis.from_url(os.environ.get("NOTES_URL", "redis://unused"), socket_timeout=5)


def succeed(message: Message) -> None:
    _notes.sadd(f"{_PREFIX}notes", message.id)


def fail_once(message: Message) -> None:
    if message.attempt == 1:
        raise ValueError("not yet")
    succeed(message)


def die(message: Message) -> None:
    raise Reject("never")


router = Router()
router.on("crash/{n}/ok", succeed, shared=True, queue="crash")
router.on("crash/{n}/retry", fail_once, shared=True, queue="crash", retry=RetryPolicy(base_delay_s=0.05, jitter=0.0))
router.on("crash/{n}/dead", die, shared=True, queue="crash")
