"""Who listens to what Celery tells of messages: whatever one raises, no message fails of it and no worker ends."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import signals

from routemq_tasks.green import is_kill
from routemq_tasks.outcomes import is_shutdown

logger = logging.getLogger(__name__)

_OF_MESSAGES = (
    signals.task_received,
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_retry,
    signals.task_failure,
    signals.task_internal_error,
    signals.task_revoked,
    signals.task_rejected,
    signals.task_unknown,
)


def guard_listeners() -> None:
    """Hear a listener that raises what is no `Exception` as Celery hears all others: it is logged, and all goes on.

    `CancelledError` is one, and where Celery tells of a message there is nobody else to catch it: the worker would end,
    or what is done would be run again.
    """
    for signal in _OF_MESSAGES:
        if "send" not in vars(signal):
            signal.send = partial(_send, signal.send, signal.name)


def _send(send: Callable[..., Any], name: str, *args: Any, **options: Any) -> Any:
    try:
        return send(*args, **options)
    except BaseException as exc:
        # An order to the worker, also from a listener.
        if is_shutdown(exc) or is_kill(exc):
            raise
        logger.exception("a listener to Celery's signal %s failed", name)
        return []
