"""The application of the hostile tests, with listeners to Celery's signals that raise what nobody catches."""

import asyncio
from typing import Any, NoReturn

from celery import signals

from tests.applications.hostile import router

__all__ = ["router"]


def cancelled(**_signal: Any) -> NoReturn:
    raise asyncio.CancelledError


def leave(**_signal: Any) -> NoReturn:
    raise SystemExit(5)


for signal in (signals.task_received, signals.task_prerun, signals.task_success, signals.task_retry):
    signal.connect(cancelled, weak=False)
for signal in (signals.task_postrun, signals.task_failure):
    signal.connect(leave, weak=False)
