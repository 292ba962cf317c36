"""What is raised in whatever runs just then, and is meant for the run or for the worker."""

import sys


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception that came out of an application's code may have come into it from outside.

    A worker that is told to end, or a run whose time is up, raises between any two lines of anybody's.
    """
    # Not `isinstance`, which asks the error itself.
    kind = type(error)
    # Of Celery's, which ingest does without, nothing is raised before it is imported.
    if "celery.exceptions" not in sys.modules:
        return issubclass(kind, KeyboardInterrupt)
    from billiard.common import terminate_handler_fired
    from billiard.exceptions import SoftTimeLimitExceeded
    from celery.exceptions import WorkerShutdown, WorkerTerminate

    orders = (KeyboardInterrupt, SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate)
    is_of_greenlet = any(each.__module__ in ("greenlet", "gevent.timeout") for each in kind.__mro__)
    return issubclass(kind, orders) or is_of_greenlet or terminate_handler_fired()
