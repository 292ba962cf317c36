"""What several integration tests look at a store with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from routemq.queues import Keys
from tests.desk import Desk, open_desk
from tests.mqtt_peer import MakePeer, Peer
from tests.servers import MqttBroker, Redis


@pytest.fixture
def client(redis_store: Redis) -> Iterator[redis.Redis]:
    """A client of each Redis in turn."""
    with redis_store.client() as client:
        yield client


@pytest.fixture
def keys(key_prefix: str) -> Keys:
    """The test's own keys."""
    return Keys(key_prefix)


@pytest.fixture
def desk(redis_store: Redis, key_prefix: str, tmp_path: Path) -> Iterator[Desk]:
    """On each store in turn."""
    yield from open_desk(redis_store, key_prefix, tmp_path)


@pytest.fixture
def redis_desk(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Iterator[Desk]:
    """On Redis alone, for what the store has no part in."""
    yield from open_desk(redis_server, key_prefix, tmp_path)


@pytest.fixture
def peer(mqtt_broker: MqttBroker) -> Iterator[MakePeer]:
    """Make a client of the broker: `peer(client_id=…, version=…, manual_ack=…)`; it is gone after the test."""
    made: list[Peer] = []

    def make(**options: object) -> Peer:
        made.append(Peer(mqtt_broker.port, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()
