"""What readers have when they read a page; a module beside this one is of the page of its name."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel

from routemq import (
    Batch,
    Client,
    Context,
    Controller,
    Message,
    Middleware,
    PublishProperties,
    Reject,
    Reply,
    Retry,
    RetryPolicy,
    Router,
)
from routemq.middleware import Next

router = Router()


class Reading(BaseModel):
    temperature: float
