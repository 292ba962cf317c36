"""List items: what lies on a queue, in a worker's hands."""

from dataclasses import dataclass

from routemq.errors import RouteMQError

_MARKED = b'{"routemq":'


class MalformedItemError(RouteMQError):
    """A list item is no Celery message."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"not a Celery message: {problem}")


class DeliveredTooOftenError(RouteMQError):
    """A message was handed to workers again and again and was never finished."""

    def __init__(self, *, deliveries: int, strikes: int) -> None:
        self.deliveries, self.strikes = deliveries, strikes
        super().__init__(
            f"delivered {deliveries} times without an outcome; {strikes} workers were lost while they ran it"
        )


@dataclass(frozen=True, slots=True)
class Item:
    """A list item that was taken from a queue and is recorded as unacked under its tag."""

    tag: str
    queue: str
    raw: bytes

    @property
    def came_back(self) -> bool:
        """Whether a worker that had it was lost, or gave it back."""
        return self.raw.startswith(_MARKED)
