"""Who listens to what Celery tells of messages: whatever one raises, no message fails of it and no worker ends."""

# ruff: noqa: SLF001  whom a signal of Celery's tells has no public name

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
    """Let each listener fail for itself, also by what is no `Exception`: it is logged, and all others are heard.

    `CancelledError` is one, and where Celery tells of a message there is nobody else to catch it: the worker would end,
    or what is done would be run again. Guarded is who listens, not `send`, which modules of Celery's have as they are
    imported.
    """
    for signal in _OF_MESSAGES:
        if "_live_receivers" not in vars(signal):
            signal._live_receivers = partial(_guarded, signal._live_receivers, signal.name)


def _guarded(listeners_of: Callable[[Any], list[Any]], signal: str, sender: Any) -> list[Any]:
    return [partial(_told, listener, signal) for listener in listeners_of(sender)]


def _told(listener: Callable[..., Any], of: str, /, **said: Any) -> Any:
    try:
        return listener(**said)
    except BaseException as exc:
        # An order to the worker, also from a listener.
        if is_shutdown(exc) or is_kill(exc):
            raise
        logger.exception("a listener to Celery's signal %s failed", of)
        return exc
