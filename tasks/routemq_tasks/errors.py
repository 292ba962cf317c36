"""Exceptions that never leave the execution service."""

from routemq.errors import RouteMQError


class UnroutableError(RouteMQError):
    """A message names a route that does not take its topic, or that is not there."""

    def __init__(self, *, route: str, problem: str) -> None:
        self.route, self.problem = route, problem
        super().__init__(f"route {route!r}: {problem}")

    def __reduce__(self) -> tuple[object, ...]:
        return _unroutable, (self.route, self.problem)


class OutcomeNotRecordedError(RouteMQError):
    """Redis stayed away, so it is not recorded what became of a message; it must not be acknowledged."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the outcome could not be recorded: {problem}")


class ControllerFailedError(RouteMQError):
    """Stands in for what a controller raised where Celery would take it for its own: `SystemExit`, `MemoryError`, …

    Attributes:
        error: Exception class and message.
    """

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(error)


def _unroutable(route: str, problem: str) -> UnroutableError:
    return UnroutableError(route=route, problem=problem)
