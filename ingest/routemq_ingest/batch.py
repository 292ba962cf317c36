"""What was received and is not in Redis yet."""

import time

import orjson

from routemq.dead_letters import DeadLetter
from routemq_ingest.connection import BrokerConnection

MAX_MESSAGES = 500
MAX_BYTES = 1_048_576


class Batch:
    """Messages on their way to Redis, encoded, with the acknowledgements that they are owed.

    Attributes:
        items: Queue → list items, in the order of arrival.
        received: Route → how many.
        dead: What cannot become a task, with its list item.
        acks: Connection → packet identifiers, in the order of arrival.
        received_at: Unix seconds as JSON, for all that arrives from now on.
    """

    def __init__(self) -> None:
        self.received_at = b"0.0"
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.items: dict[str, list[bytes]] = {}
        self.received: dict[str, int] = {}
        self.dead: list[tuple[DeadLetter, bytes]] = []
        self.acks: dict[BrokerConnection, list[int]] = {}
        self.messages = 0
        self.size_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another message may be added."""
        return self.messages < MAX_MESSAGES and self.size_bytes < MAX_BYTES

    def stamp(self) -> None:
        """Take the time for what arrives from now on."""
        self.received_at = orjson.dumps(round(time.time(), 3))

    def add(self, *, route: str, queue: str, item: bytes) -> None:
        """Add a message for a queue."""
        try:
            self.items[queue].append(item)
        except KeyError:
            self.items[queue] = [item]
        self._count(route, len(item))

    def add_dead(self, letter: DeadLetter, item: bytes, *, route: str) -> None:
        """Add a message that cannot become a task."""
        self.dead.append((letter, item))
        self._count(route, len(item))

    def owe(self, connection: BrokerConnection, mid: int) -> None:
        """Remember a PUBACK for when all is in Redis."""
        try:
            self.acks[connection].append(mid)
        except KeyError:
            self.acks[connection] = [mid]

    def _count(self, route: str, size_bytes: int) -> None:
        self.received[route] = self.received.get(route, 0) + 1
        self.messages += 1
        self.size_bytes += size_bytes
