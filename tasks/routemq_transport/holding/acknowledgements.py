"""What is done and Redis has not heard of yet."""

import threading
import time
from collections.abc import Sequence

from routemq.lifecycle.moves import ByRoute

ACKS_PER_BATCH = 100
ACK_DELAY_S = 0.010


class Acknowledgements:
    """Delivery tags that wait for the next batch; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_route: dict[str | None, list[str]] = {}
        self._count = 0
        self._since = 0.0

    def __len__(self) -> int:
        return self._count

    @property
    def age_s(self) -> float:
        """Seconds since the first of them came; negative while they are not to be sent yet."""
        return time.monotonic() - self._since

    @property
    def due_in_s(self) -> float | None:
        """Seconds until they should go out; None when there are none."""
        return max(0.0, ACK_DELAY_S - self.age_s) if self._count else None

    def add(self, tags: Sequence[str], route: str | None) -> bool:
        """Take in what belongs together; True when the batch is full."""
        with self._lock:
            if not self._count:
                self._since = time.monotonic()
            self._count += len(tags)
            waiting = self._by_route.get(route)
            if waiting is None:
                self._by_route[route] = [*tags]
            else:
                waiting += tags
            return self._count >= ACKS_PER_BATCH

    def take(self) -> ByRoute:
        """Hand over all that wait."""
        with self._lock:
            taken, self._by_route, self._count = self._by_route, {}, 0
        return taken

    def keep(self, taken: ByRoute, *, pause_s: float) -> None:
        """Take back what could not be sent; the main loop, which asks in every turn, leaves it for a while."""
        with self._lock:
            for route, tags in taken.items():
                self._by_route[route] = [*tags, *self._by_route.get(route, [])]
                self._count += len(tags)
            self._since = time.monotonic() + pause_s
