"""How many messages were done, per route, with Celery's own transport: written to Redis twice a second."""

import logging
import threading

import redis

from routemq.metrics.totals import add_totals
from routemq.queues import Keys

logger = logging.getLogger(__name__)

_INTERVAL_S = 0.5


class DoneCounter:
    """Counts in this process; a round trip per message would cost more than many a controller.

    What a killed process had not written is missing, and a message that was run twice counts twice. Our own transport
    needs none of this: `acknowledge.lua` counts.
    """

    def __init__(self, client: "redis.Redis", keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._lock = threading.Lock()
        self._amounts: dict[str, int] = {}
        self._writer: threading.Thread | None = None
        self._closed = threading.Event()

    def count(self, route: str) -> None:
        """One message of a route is done."""
        with self._lock:
            self._amounts[route] = self._amounts.get(route, 0) + 1
            if self._writer is None:
                self._start()

    def _start(self) -> None:
        writer = threading.Thread(target=self._write_often, name="routemq-counters", daemon=True)
        try:
            writer.start()
        except RuntimeError as exc:
            # The message is done all the same; the next one tries again.
            logger.debug("counters are written later: %s", exc)
        else:
            self._writer = writer

    def flush(self) -> None:
        """Write what was counted since the last time; what cannot be written is kept."""
        with self._lock:
            amounts, self._amounts = self._amounts, {}
        if not amounts:
            return
        try:
            with self._client.pipeline(transaction=True) as pipe:
                add_totals(pipe, self._keys, "done", amounts)
                pipe.execute()
        # Whatever it is: a thread that ends would count nothing more, and tell nobody.
        except Exception as exc:  # noqa: BLE001
            logger.debug("counters not written, kept for the next time: %s", exc)
            with self._lock:
                for route, amount in amounts.items():
                    self._amounts[route] = self._amounts.get(route, 0) + amount

    def close(self) -> None:
        """Stop the writer and write the rest."""
        self._closed.set()
        self.flush()

    def _write_often(self) -> None:
        while not self._closed.wait(_INTERVAL_S):
            self.flush()
