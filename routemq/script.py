"""A client for scripts, outside of any worker: the front door of those who publish, or ask, from Python."""

import contextlib
from collections.abc import Iterator

from routemq_tasks.client import MessageClient
from routemq_tasks.publisher import Publisher

from routemq.message import Client
from routemq.settings import Settings, load_settings


@contextlib.contextmanager
def open_client(settings: Settings | None = None) -> Iterator[Client]:
    """Return what a controller's `client` is, on a connection of its own; when the block ends, all is confirmed.

    Args:
        settings: By default those of the environment and `.env`.

    Raises:
        PublishError: A publish was not confirmed, at the end of the block.
    """
    publisher = Publisher(load_settings() if settings is None else settings)
    client = MessageClient(publisher)
    try:
        yield client
        client.confirm()
    finally:
        client.abandon()
        publisher.close()
