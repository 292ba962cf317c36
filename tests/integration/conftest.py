"""What several integration tests look at a store with."""

from collections.abc import Iterator

import pytest
import redis

from routemq.queues import Keys
from tests.servers import Redis


@pytest.fixture
def client(redis_store: Redis) -> Iterator[redis.Redis]:
    """A client of each Redis in turn."""
    with redis_store.client() as client:
        yield client


@pytest.fixture
def keys(key_prefix: str) -> Keys:
    """The test's own keys."""
    return Keys(key_prefix)
