"""Exceptions that never leave the execution service."""

from celery.exceptions import SoftTimeLimitExceeded

from routemq.envelope import VERSION
from routemq.errors import EnvelopeError, RouteMQError
from routemq.route import Route
from routemq.text import error_line


class UnroutableError(RouteMQError):
    """A message is for no route, whichever release of the application has it in hand."""

    def __init__(self, *, route: str, problem: str) -> None:
        self.route, self.problem = route, problem
        super().__init__(f"route {route!r}: {problem}")


class UnknownRouteError(UnroutableError):
    """A message is for a route that this release of the application does not know; another one may."""


class LaterEnvelopeError(EnvelopeError):
    """An envelope was written by a later release of RouteMQ."""

    def __init__(self, *, version: int) -> None:
        self.version = version
        super().__init__(problem=f"envelope version {version}; this release reads {VERSION}", data=b"")


class PausedError(RouteMQError):
    """A message is of a route that is paused: it is not run now, and nothing is wrong with it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        super().__init__(f"route {route.name!r} is paused")


class NotEndedError(RouteMQError):
    """A run gave no sign that it ended: Celery failed around it, or it was killed; its message must not count as done.

    Attributes:
        problem: What came instead of the sign.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the run did not come to its end: {problem}")


class NotReplacedError(RouteMQError):
    """A controller asked Celery to run another task in place of its message, which has no result to stand for."""

    def __init__(self, *, route: str) -> None:
        self.route = route
        super().__init__(f"the message of route {route!r} is replaced by no task; send that with delay(), and return")


class LoopBrokenError(RouteMQError):
    """The event loop came to an end under an async controller: another one had closed what the loop stands on."""

    def __init__(self, *, error: BaseException) -> None:
        super().__init__(f"the event loop has ended, a controller has closed what it stands on: {error_line(error)}")


class ControllerFailedError(RouteMQError):
    """Stands in for what a controller raised where Celery would take it for its own: `SystemExit`, `MemoryError`, …

    Attributes:
        error: Exception class and message.
    """

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(error)

    def __repr__(self) -> str:
        return self.error


class TimedOutError(SoftTimeLimitExceeded):
    """A run took longer than its route allows; a controller may catch it as Celery's `SoftTimeLimitExceeded`.

    Attributes:
        timeout_s: What the route allows, in seconds.
        killed: Whether it did not heed the limit, and its process was killed.
    """

    def __init__(self, timeout_s: float, killed: bool = False) -> None:
        self.timeout_s, self.killed = timeout_s, killed
        super().__init__(timeout_s, killed)

    def __str__(self) -> str:
        text = f"the run took longer than {self.timeout_s:g} s"
        return f"{text} and did not end by itself; its process was killed" if self.killed else text
