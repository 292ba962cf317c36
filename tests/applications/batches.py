"""The application of the tests of batches: what a message does is in its payload."""

import asyncio
import os
from typing import Literal

from pydantic import BaseModel

from routemq import Batch, Message, RetryPolicy, Router
from tests.applications.execution import note

Act = Literal["store", "raise", "kill", "fail", "retry", "reject"]


class Order(BaseModel):
    number: int
    act: Act = "store"


class PoisonError(Exception):
    """What the poisonous message of a batch does to all of it."""


def store(payloads: list[Order], device_id: list[str], messages: list[Message]) -> None:
    note("run", count=len(messages), acts=[each.act for each in payloads if each.act != "store"])
    acts = {each.act for each in payloads}
    if "kill" in acts:
        os.kill(os.getpid(), 9)
    if "raise" in acts:
        raise PoisonError
    for order, message in zip(payloads, messages, strict=True):
        if order.act == "fail":
            message.fail(ValueError("this one"))
        elif order.act == "retry" and message.attempt == 1:
            message.retry(0.1)
        elif order.act == "reject":
            message.reject("not for us")
    stored = [message for message in messages if message.decision is None]
    note("stored", ids=[each.id for each in stored], devices=device_id, attempts=[each.attempt for each in stored])


async def store_async(payloads: list[Order], device_id: list[str], messages: list[Message]) -> None:
    # What blocks is none of the loop's.
    await asyncio.to_thread(store, payloads, device_id, messages)


def full(device_id: list[str]) -> None:
    note("full", devices=device_id)


_BATCH = Batch(max_messages=500, max_wait_s=1.0)
_RETRY = RetryPolicy(max_attempts=2, base_delay_s=0.1)

router = Router()
router.on("sync/{device_id}", store, batch=_BATCH, queue="batches", retry=_RETRY)
router.on("async/{device_id}", store_async, batch=_BATCH, queue="batches", retry=_RETRY)
router.on("full/{device_id}", full, batch=Batch(max_messages=100, max_wait_s=600.0), queue="full")
router.on("bytes/{device_id}", full, batch=Batch(max_messages=100, max_wait_s=600.0, max_bytes=2_000), queue="full")
