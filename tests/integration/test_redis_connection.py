"""What one connection learns of a server, all of the process know."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue
from routemq_transport.stock import StockTransport
from routemq_transport.transport import Transport

from routemq.connections import connect_redis
from routemq.refusals import RefusedError, code_of, explain
from routemq.settings import Settings
from routemq.upstream import redis_connection
from tests.failover import Pair
from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis


def _clients(url: str, count: int, *, timeout_s: float = 3.0) -> "list[redis.Redis]":
    settings = Settings(_env_file=None, redis_url=url)  # type: ignore[call-arg,arg-type]
    return [connect_redis(settings, timeout_s=timeout_s) for _ in range(count)]


def test_a_server_that_does_not_answer_is_waited_for_once(
    own_store: Callable[..., Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Until the test says that it is over.
    monkeypatch.setattr(redis_connection, "_SILENT_S", 10 * PATIENCE_S)
    store = own_store()
    clients = [*_clients(store.url, 1), *_clients(store.url, 3, timeout_s=PATIENCE_S)]
    for client in clients:
        client.set("a", 1)
    store.pause()
    with pytest.raises(redis.TimeoutError):
        clients[0].get("a")
    began = time.monotonic()
    for client in [*clients, *_clients(store.url, 1, timeout_s=PATIENCE_S)]:
        with pytest.raises((redis.TimeoutError, redis.ConnectionError)):
            client.get("a")
    assert time.monotonic() - began < PATIENCE_S
    store.resume()
    redis_connection.RedisConnection._places[store.host, store.port]._silent_until = 0.0
    for client in clients:
        wait_until(lambda: client.get("a") == b"1", ignoring=(redis.RedisError,), message="it is used again")  # noqa: B023


def test_giving_up_early_says_nothing_of_the_server(own_store: Callable[..., Redis]) -> None:
    store = own_store()
    (hasty,) = _clients(store.url, 1, timeout_s=0.2)
    (patient,) = _clients(store.url, 1)
    hasty.set("a", 1)
    with pytest.raises(redis.TimeoutError):
        hasty.eval("while true do end", 0)
    store.client().script_kill()
    assert patient.get("a") == b"1"


def test_a_refusal_makes_all_connections_leave(own_store: Callable[..., Redis]) -> None:
    pair = Pair.of(own_store(), own_store())
    reading, writing = _clients(pair.url, 2)
    writing.set("a", 1)
    assert reading.get("a") == b"1"
    pair.demote()
    with pytest.raises(RefusedError, match="READONLY"):
        writing.set("a", 2)
    pair.lead_to_primary()
    # Without a refusal of its own: it would have read from the replica for ever.
    assert reading.info("replication")["role"] == "master"
    writing.set("a", 3)
    assert reading.get("a") == b"3"


def test_what_somebody_kills_says_nothing_of_a_message(own_store: Callable[..., Redis]) -> None:
    store = own_store()
    (client,) = _clients(store.url, 1, timeout_s=20.0)

    def kill() -> None:
        with store.client() as other:
            wait_until(other.script_kill, ignoring=(redis.RedisError,), message="the script is killed")

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(redis.ResponseError) as caught:
        client.eval("while true do end", 0)
    killer.join()
    assert code_of(caught.value) == "KILLED"
    assert "SCRIPT KILL" in explain(caught.value)


@pytest.mark.parametrize("transport", [Transport, StockTransport])
def test_who_only_listens_is_not_connected_anew_while_reading(
    own_store: Callable[..., Redis], transport: type[Any]
) -> None:
    store = own_store()
    turns: list[str] = []
    news = Queue("", exchange=Exchange("news", type="fanout"), exclusive=True, auto_delete=True)
    with Connection(store.url, transport=transport) as connection, Consumer(connection, [news]):

        def turn() -> None:
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                turns.append("nothing")
            except connection.connection_errors:
                turns.append("lost")

        def listen() -> None:
            while len(turns) < 5 and "lost" not in turns:
                turn()

        turn()
        with store.client() as client:
            wait_until(lambda: client.pubsub_numpat() == 1, message="it is subscribed")
            store.break_disk()
            # Another user of this Redis, in a thread of the same process, is told that it is of no use.
            (other,) = _clients(store.url, 1)
            with pytest.raises(redis.ConnectionError):
                other.set("a", 1)
            client.publish("/0.news", b"read, and understood by nobody")
        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        listening.join(PATIENCE_S)
        assert not listening.is_alive()
        store.mend_disk()
