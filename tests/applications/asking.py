"""An application that answers requests, and asks devices itself."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from routemq import Client, Context, Message, Middleware, Reply, RetryPolicy, Router
from tests.applications.execution import _PREFIX, note


class Settings(BaseModel):
    device: str
    interval_s: int = 10


class Doubles(Middleware):
    def handle(self, context: Context, next_handler: Callable[[Context], Any]) -> Any:
        return next_handler(context) * 2


def settings(device: str, message: Message) -> Settings:
    note("ran", id=message.id)
    return Settings(device=device)


async def settings_async(device: str) -> Any:
    return {"device": device}


def text(payload: str) -> str:
    return payload


def nothing(payload: Any) -> None:
    """Is done, and says no more."""


def ask(device: str, payload: dict[str, Any], client: Client) -> None:
    answer = client.request(f"{_PREFIX}/devices/{device}", {"sync": True}, timeout_s=payload["timeout_s"]).result()
    note("asked", device=device, answer=answer.json(), content_type=answer.content_type)


async def ask_async(device: str, payload: dict[str, Any], client: Client) -> None:
    questions = [
        client.request(f"{_PREFIX}/devices/{device}", {"number": number}, timeout_s=payload["timeout_s"])
        for number in range(3)
    ]
    answers = [(await question).json() for question in questions]
    await asyncio.to_thread(note, "asked", device=device, answer=answers, content_type=None)


once = RetryPolicy(max_attempts=1)
router = Router()
router.on("settings/{device}", settings, queue="asking", reply=Reply(expiry_s=90.5))
router.on("settings-async/{device}", settings_async, queue="asking", reply=True, retry=once)
router.on("own/{device}", settings, queue="asking", reply=Reply(within="answers/{device}/{rest:path}", qos=0))
router.on("text", text, queue="asking", reply=True, middleware=[Doubles()])
router.on("nothing", nothing, queue="asking", reply=True)
router.on("ask/{device}", ask, queue="asking", retry=once)
router.on("ask-async/{device}", ask_async, queue="asking", retry=once)
