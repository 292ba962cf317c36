"""Celery's consumer, with a public name for what it keeps to itself."""

from celery.worker.consumer import Consumer


class OpenConsumer(Consumer):
    """A consumer that sends its events when it is told to."""

    def flush_events(self) -> None:
        """Send the events that wait for their batch."""
        self._flush_events()
