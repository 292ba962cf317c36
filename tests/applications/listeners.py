"""The application of the execution tests, and what error trackers do: listen to Celery's signals and to its log."""

import logging
import traceback
from typing import Any

from celery import signals

from tests.applications.execution import note, router

__all__ = ["router"]


def _told(error: BaseException) -> dict[str, Any]:
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return {"error": type(error).__name__, "text": str(error), "frames": frames, "cause": repr(error.__cause__)}


@signals.task_failure.connect(weak=False)  # type: ignore[misc]  # Celery has no types
def on_failure(task_id: str, exception: BaseException, einfo: Any, **_signal: Any) -> None:
    note("failure", id=task_id, einfo=einfo is not None, **_told(exception))


@signals.task_retry.connect(weak=False)  # type: ignore[misc]  # Celery has no types
def on_retry(request: Any, reason: Any, **_signal: Any) -> None:
    note("retry", id=request.id, error=type(reason.exc).__name__, when=reason.when)


class Tracker(logging.Handler):
    """As Sentry's and others': every record at ERROR, with the exception that came with it."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        note("record", logger=record.name, **({} if error is None else _told(error)))


for name in ("celery.app.trace", "routemq_tasks.outcomes"):
    logging.getLogger(name).addHandler(Tracker(level=logging.ERROR))
