"""What fetching asks of whoever consumes: kombu's channel, or a test's."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from routemq_transport.fetching.fetcher import Turn
from routemq_transport.fetching.wakeup import WakeUp
from routemq_transport.holding.lease import Lease
from routemq_transport.items import Item


class Hands(Protocol):
    """How much a channel may hold, and holds."""

    waiting: int
    """Messages that were fetched and are not delivered yet."""

    prefetch_count: int

    @property
    def in_hand(self) -> int:
        """Messages, those that wait included."""

    @property
    def all_run(self) -> bool:
        """Whether no message in hand waits for its turn, so that slots may be free."""

    def can_consume(self) -> bool:
        """Return whether to fetch now."""

    def can_consume_max_estimate(self) -> int | None:
        """Return how many messages to fetch at most, None for any number."""


class Consumers(Protocol):
    """What an intake asks of its channel."""

    connection_errors: tuple[type[Exception], ...]

    @property
    def qos(self) -> Hands:
        """How much it may hold, and holds."""

    @property
    def has_lease(self) -> bool:
        """Whether it ever held a message."""

    @property
    def lease(self) -> Lease:
        """The lease of what it holds."""

    @property
    def active_queues(self) -> Sequence[str]:
        """The queues that are consumed."""

    @property
    def delivers_one_by_one(self) -> bool:
        """Whether the event loop is the caller's, who counts on one message for each call."""

    @property
    def fetching_connection(self) -> Any:
        """The connection that the event loop watches for replies."""

    @property
    def pool(self) -> Any:
        """Other connections, to wait on."""

    @property
    def async_pool(self) -> Any:
        """Connections whose end the event loop is told of."""

    def next_turn(self) -> Turn:
        """Say from what to fetch next."""

    def turn_of(self, queue: str) -> Turn:
        """Say how to fetch from one queue."""

    def served(self, queue: str) -> None:
        """This queue had its turn."""

    def turn_in(self, delay_s: float) -> None:
        """Turn the intake again after this many seconds at the latest."""

    def poll_wakeup(self, wakeup: WakeUp) -> None:
        """Let the event loop watch the wake-up connection."""

    def mark_polled(self, connection: Any) -> None:
        """Note on which connection a reply is awaited; None for none."""

    def given_back(self, queues: Iterable[str]) -> None:
        """Messages are back on these queues."""

    def deliver(self, item: Item) -> None:
        """Hand one message to its consumer, and elsewhere what no consumer can take."""
