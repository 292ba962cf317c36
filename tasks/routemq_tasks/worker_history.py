"""A worker's part in the history of routes."""

from typing import Any

from celery.signals import worker_shutdown

from routemq.connections import connect_redis
from routemq.metrics.history_keeper import HistoryKeeper
from routemq.queues import Keys


class WorkerHistory(HistoryKeeper):
    """Writes until the pool has ended, which is after its companions: the last runs belong to it too.

    Args:
        app: Celery's, with its settings and its timings.
    """

    def __init__(self, app: Any) -> None:
        client = connect_redis(app.settings, timeout_s=2.0)
        super().__init__(client, Keys(app.settings.key_prefix), app.timings)
        self._app = app

    def start(self) -> None:
        """Begin."""
        worker_shutdown.connect(self._end)
        super().start()

    def stop(self) -> None:
        """Go on: see the class."""

    def _end(self, sender: Any, **_signal: Any) -> None:
        if sender.app is self._app:
            super().stop()
