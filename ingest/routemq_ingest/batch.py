"""What was received and is not in Redis yet."""

import time
from collections.abc import Sequence

import orjson

from routemq.dead_letters import DeadLetter
from routemq_ingest.upstream.connection import BrokerConnection

MAX_MESSAGES = 500
MAX_BYTES = 1_048_576
"""What goes to Redis at once. As much again is taken from the MQTT broker meanwhile."""

Entry = tuple[str, str, bytes, DeadLetter | None, BrokerConnection | None, int]
"""Route, queue, list item, why it cannot become a task, connection and packet identifier of the PUBACK that is due.

No connection: QoS 0, or more entries of the same PUBLISH follow. A plain tuple, for one is made of each message.
"""


class OpenBatch:
    """Entries in the order of arrival. They leave it from the front alone, once Redis has said that it has them.

    Attributes:
        received_at: Unix seconds as JSON, for all that arrives from now on.
        taken: How many have left it.
    """

    def __init__(self) -> None:
        self.received_at = b"0.0"
        self.taken = 0
        self._entries: list[Entry] = []
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_room(self) -> bool:
        """Whether another message may be added."""
        return len(self._entries) < 2 * MAX_MESSAGES and self._size_bytes < 2 * MAX_BYTES

    def stamp(self) -> None:
        """Take the time for what arrives from now on."""
        self.received_at = orjson.dumps(round(time.time(), 3))

    def add(self, entry: Entry) -> None:
        """Add what came last."""
        self._entries.append(entry)
        self._size_bytes += len(entry[2])

    def head(self) -> Sequence[Entry]:
        """Return the first entries, as many as go to Redis at once; a larger one goes alone."""
        if self._size_bytes <= MAX_BYTES:
            return self._entries[:MAX_MESSAGES]
        size_bytes = 0
        for count, entry in enumerate(self._entries):
            size_bytes += len(entry[2])
            if count == MAX_MESSAGES or (count and size_bytes > MAX_BYTES):
                return self._entries[:count]
        return self._entries.copy()

    def settle(self, count: int) -> dict[BrokerConnection, list[int]]:
        """Let go of the first entries, which are in Redis; return the PUBACKs that are due for them, in order."""
        owed: dict[BrokerConnection, list[int]] = {}
        for _, _, item, _, connection, mid in self._entries[:count]:
            self._size_bytes -= len(item)
            if connection is None:
                continue
            if connection in owed:
                owed[connection].append(mid)
            else:
                owed[connection] = [mid]
        del self._entries[:count]
        self.taken += count
        return owed
