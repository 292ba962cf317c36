"""Threads that live beside a worker's pool, in its main process."""

from typing import Any, Protocol

from celery import bootsteps


class CompanionThread(Protocol):
    """A thread that ends when it is asked to."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End soon."""


class Companion(bootsteps.StartStopStep):
    """Starts a thread with the worker and stops it with it; after the pool, so that no child is forked with it."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._thread: CompanionThread | None = None

    def make(self, parent: Any) -> CompanionThread | None:
        """Return the thread for this worker; None when it needs none."""
        return None

    def start(self, parent: Any) -> None:
        """Begin."""
        self._thread = self.make(parent)
        if self._thread is not None:
            self._thread.start()

    def stop(self, parent: Any) -> None:
        """End."""
        if self._thread is not None:
            self._thread.stop()

    terminate = stop
