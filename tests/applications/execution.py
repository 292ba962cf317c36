"""The application of the execution tests: each controller notes in Redis what it was given and what it did."""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from celery.exceptions import SoftTimeLimitExceeded
from pydantic import BaseModel

from routemq import Client, Context, Message, Middleware, Reject, Retry, RetryPolicy, Router

# A test imports this module too, for its routes alone.
_PREFIX = os.environ.get("ROUTEMQ_KEY_PREFIX", "")
logger = logging.getLogger("app")
_redis = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://unused"), socket_timeout=5)
_loop_state: dict[str, int] = {}


def note(what: str, **facts: Any) -> None:
    _redis.rpush(f"{_PREFIX}notes", json.dumps({"what": what, "at": time.time(), "pid": os.getpid(), **facts}))


class Reading(BaseModel):
    temperature: float


class UnpicklableError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__("cannot be pickled")
        self.held = (threading.Lock(), one, two)


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class QuietError(Exception):
    def __str__(self) -> str:
        return "says less than its arguments"


def _raise(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


ACTS: dict[str, Callable[[], Any]] = {
    "fine": lambda: None,
    "value": _raise(ValueError("first line\nsecond line")),
    "memory": _raise(MemoryError("all of it")),
    "exit": _raise(SystemExit(3)),
    "interrupt": _raise(KeyboardInterrupt()),
    "unpicklable": _raise(UnpicklableError(1, 2)),
    "mute": _raise(MuteError()),
    "reject": _raise(Reject("not for us")),
    "never": _raise(LookupError("never retried")),
    "kill": lambda: os.kill(os.getpid(), 9),
    "leave": lambda: os._exit(4),
}


def act(kind: str, message: Message) -> None:
    note("act", kind=kind, id=message.id, attempt=message.attempt)
    if kind == "echo":
        raise RuntimeError(f"cannot take {message.json()}")
    if kind == "quiet":
        raise QuietError(message.text()) from KeyError(message.text())
    if kind == "say":
        logger.warning("got %s", message.text())
        raise RuntimeError(message.text())
    ACTS[kind]()


async def act_async(kind: str, message: Message) -> None:
    await asyncio.to_thread(note, "act", kind=kind, id=message.id, attempt=message.attempt)
    ACTS[kind]()


def state(line: int, payload: Reading, message: Message) -> None:
    note("state", line=line, temperature=payload.temperature, id=message.id, topic=message.topic)


async def loop(device: str, payload: Any) -> None:
    """The loop is the same for each message, and what one message leaves on it is there for the next."""
    _loop_state[device] = id(asyncio.get_running_loop())
    await asyncio.sleep(0.01)
    thread = threading.current_thread().name
    # What blocks is none of the loop's; and where threads are greenlets, its thread may share no socket with theirs.
    await asyncio.to_thread(note, "loop", loop=id(asyncio.get_running_loop()), device=device, thread=thread)


def own_loop(message: Message) -> None:
    """Do what is refused where an event loop runs; Django's ORM looks for one too."""
    asyncio.run(asyncio.sleep(0.01))
    note("own-loop", topic=message.topic)


def raw(payload: bytes, message: Message) -> None:
    note("raw", size=len(payload), topic=message.topic, id=message.id)


def again(message: Message) -> None:
    note("again", attempt=message.attempt, id=message.id)
    if message.attempt == 1:
        raise Retry("not yet", delay_s=0.3)


def unlucky(message: Message) -> None:
    note("unlucky", attempt=message.attempt, id=message.id)
    raise ValueError("no such sensor")


def sleep(payload: float, message: Message) -> None:
    note("started", id=message.id)
    time.sleep(payload)
    note("slept", id=message.id)


def held(message: Message) -> None:
    """Run until the test says so."""
    note("started", id=message.id)
    while not _redis.exists(f"{_PREFIX}released"):
        time.sleep(0.02)
    note("slept", id=message.id)


def outlive_redis(message: Message) -> None:
    """Fail when Redis is there no more."""
    note("started", id=message.id)
    while _redis.ping():
        time.sleep(0.02)


def deaf(payload: Any) -> None:
    """Heeds no soft limit."""
    while True:
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            note("deaf")


async def sleep_async(payload: float) -> None:
    await asyncio.sleep(payload)


async def answer_async(device: str, payload: Any, client: Client) -> None:
    client.publish(f"{_PREFIX}/answers/{device}", {"to": device, "was": payload}, qos=1)
    await asyncio.sleep(0.01)
    client.publish(f"{_PREFIX}/answers/{device}", {"to": device, "again": True}, qos=1)


def answer(device: str, payload: Any, client: Client) -> None:
    client.publish(f"{_PREFIX}/answers/{device}", {"to": device, "was": payload}, qos=1)
    note("answered", device=device)


def tell(payload: dict[str, Any], client: Client, message: Message) -> None:
    note("tell", attempt=message.attempt)
    client.publish(payload["topic"], "x", qos=payload["qos"])


class Sync(Middleware):
    def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        context.state["seen"] = ["sync"]
        result = next_handler(context)
        note("chain", seen=context.state["seen"])
        return result


class Async(Middleware):
    async def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        context.state.setdefault("seen", []).append("async")
        return await next_handler(context)


quickly = RetryPolicy(base_delay_s=0.1, jitter=0.0, never=(LookupError,))
once = RetryPolicy(max_attempts=1)

router = Router()
router.on("act/{kind}", act, queue="work.act", retry=quickly, worker_count=2)
router.on("act-async/{kind}", act_async, queue="work.act", retry=quickly)
router.on("lines/{line:int}/state", state, queue="work.state")
router.on("loop/{device}", loop, queue="work.loop")
router.on("raw/{rest:path}", raw, queue="work.raw")
router.on("again", again, queue="work.again")
router.on("unlucky", unlucky, queue="work.unlucky")
router.on("own-loop", own_loop, queue="work.loop")
router.on("own-loop/in-async", own_loop, queue="work.loop", middleware=[Async()])
router.on("chain/{device}", "tests.applications.execution:loop", queue="work.chain", middleware=[Sync(), Async()])
router.on("slow/sleep", sleep, queue="slow", worker_count=2)
router.on("slow/limited", sleep, queue="slow", timeout_s=0.5, retry=once, name="limited")
router.on("slow/async", sleep_async, queue="slow", retry=once)
router.on("slow/async-limited", sleep_async, queue="slow", timeout_s=0.5, retry=once)
router.on("slow/held", held, queue="slow", retry=once)
router.on("slow/outlives-redis", outlive_redis, queue="slow", retry=once)
router.on("slow/deaf", deaf, queue="deaf", timeout_s=0.5, retry=once)
router.on("answer/{device}", answer, queue="answer")
router.on("answer-async/{device}", answer_async, queue="answer")
router.on("tell", tell, queue="answer", retry=quickly)
