"""What is raised in whatever runs just then, and is meant for the run or for the worker."""


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception that came out of an application's code may have come into it from outside.

    A worker that is told to end, or a run whose time is up, raises between any two lines of anybody's.
    """
    # Ingest has none of these, and asks of what has failed alone.
    from billiard.common import terminate_handler_fired
    from billiard.exceptions import SoftTimeLimitExceeded
    from celery.exceptions import WorkerShutdown, WorkerTerminate

    orders = (KeyboardInterrupt, SoftTimeLimitExceeded, WorkerShutdown, WorkerTerminate)
    # Not `isinstance`, which asks the error itself.
    kind = type(error)
    is_of_greenlet = any(each.__module__ in ("greenlet", "gevent.timeout") for each in kind.__mro__)
    return issubclass(kind, orders) or is_of_greenlet or terminate_handler_fired()
