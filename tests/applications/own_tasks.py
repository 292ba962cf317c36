"""Celery tasks of an application's own, beside a route that sends them."""

import time
from typing import Any

from celery import chain, group, shared_task

from routemq import Message, Router
from tests.applications.execution import note

router = Router()


@shared_task(name="own.plain")  # type: ignore[misc]  # Celery has no types
def plain(what: Any) -> Any:
    """Run on the default queue."""
    note("plain", given=what)
    return what


@shared_task(name="own.report", queue="reports.daily")  # type: ignore[misc]  # Celery has no types
def report(what: Any) -> Any:
    """Run on a queue of its own."""
    note("report", given=what)
    return f"report of {what}"


@shared_task(
    name="own.flaky",
    bind=True,
    autoretry_for=(ValueError,),
    max_retries=2,
    retry_backoff=False,
    default_retry_delay=0.2,
)  # type: ignore[misc]  # Celery has no types
def flaky(self: Any, good_at: int) -> None:
    """Fail until this try, or for good."""
    note("flaky", tries=self.request.retries, good_at=good_at, at=time.time())
    if self.request.retries < good_at:
        raise ValueError("not yet")


@shared_task(name="own.failed")  # type: ignore[misc]  # Celery has no types
def failed(request: Any, error: Any, traceback: Any) -> None:
    """Hear of the failure of another."""
    note("failed", error=str(error))


@shared_task(name="own.add", queue="reports.sums", typing=False)  # type: ignore[misc]  # Celery has no types
def add(*numbers: int) -> int:
    """Add."""
    note("add", numbers=list(numbers))
    return sum(numbers)


def kick(what: str, message: Message) -> None:
    """Send what is asked for."""
    if what == "plain":
        plain.delay(message.id)
    elif what == "later":
        report.apply_async((message.id,), countdown=0.5)
    elif what == "chain":
        chain(report.s("devices"), plain.s()).delay()
    elif what == "group":
        group(add.s(number, 1) for number in range(3)).delay()
    elif what == "map":
        add.starmap([(1, 2), (3, 4)]).apply_async(queue="reports.sums")
    elif what == "flaky":
        flaky.apply_async((2,), link_error=failed.s())
        flaky.apply_async((9,), link_error=failed.s())
    elif what == "stray":
        plain.apply_async((message.id,), queue="nobody's")


router.on("kick/{what}", kick, queue="kick")
