"""Celery's log of every message, which is for DEBUG alone."""

import logging

_PER_MESSAGE = ("celery.app.trace", "celery.worker.strategy")


def quiet_per_message_logs(level: int) -> None:
    """Silence Celery's lines on each message, unless the worker logs at DEBUG.

    They are two for each message, at thousands of messages a second; a failure has its one line from us.
    """
    if level > logging.DEBUG:
        for name in _PER_MESSAGE:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
