"""An idle consumer hears of a message at once, whenever it comes."""

import contextlib
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
import redis
from kombu import Consumer, Queue
from routemq_transport.fetching import pace
from routemq_transport.fetching.wakeup import WakeUp

from tests.processes import PATIENCE_S, wait_until
from tests.servers import Redis
from tests.transport import Bench

IDLE_S = 10 * PATIENCE_S


@pytest.fixture(autouse=True)
def _looks_for_itself_too_seldom_to_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "IDLE_S", IDLE_S)


def test_message_that_comes_between_a_look_and_the_reading_of_its_reply_is_not_late(
    redis_server: Redis, key_prefix: str, tmp_path: Path
) -> None:
    bench = Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")
    received: list[Any] = []
    with bench.connection() as connection:
        channel = connection.channel()
        consumer = Consumer(channel, [Queue("first", routing_key="first")], accept=["json"])
        consumer.register_callback(lambda _body, message: received.append(message))
        with consumer:
            intake = channel.intake
            # Idle: it has looked, found nothing, and Redis has promised to tell.
            wait_until(lambda: _drained(connection) and intake.wakeup is not None, message="it is idle")
            bench.put("wakes it")
            wait_until(lambda: _drained(connection) and received, message="the first is there")
            # A look is under way; Redis has answered it with nothing, and then a message comes.
            intake.pace._not_before = 0.0
            intake.pace._found_all = True
            while intake._sent_at is not None:
                wait_until(lambda: channel.client.connection.can_read(timeout=0), message="the reply is there")
                intake.read()
            intake.pace._not_before = 0.0
            intake.turn()
            wait_until(lambda: channel.client.connection.can_read(timeout=0), message="the look is answered")
            bench.put("comes in between")
            wait_until(lambda: intake.wakeup.connection.can_read(timeout=0), message="it was told")
            # The event loop may well read the one socket before the other.
            intake.woken()
            intake.read()
            wait_until(lambda: _drained(connection) and len(received) == 2, message="the second is there")


def test_whoever_may_not_be_told_asks_for_no_sign_of_life(redis_server: Redis, key_prefix: str) -> None:
    now = 0.0
    with redis_server.client() as admin:
        admin.acl_setuser(key_prefix, enabled=True, passwords=["+secret"], keys=["*"], channels=[], commands=["+@all"])
        with redis.Redis(
            host=redis_server.host, port=redis_server.port, username=key_prefix, password="secret"
        ) as client:
            wakeup = WakeUp(client.connection_pool, clock=lambda: now)
            wakeup.connect()
            assert not wakeup.works
            for _ in range(3):
                now += 60
                wakeup.check()
            wakeup.disconnect()
        admin.acl_deluser(key_prefix)


def test_a_message_costs_an_idle_consumer_one_look_and_what_others_do_none(
    redis_server: Redis, key_prefix: str, tmp_path: Path
) -> None:
    bench = Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")
    received: list[Any] = []
    with bench.connection() as connection, bench.client() as client:
        channel = connection.channel()
        consumer = Consumer(channel, [Queue("first", routing_key="first")], accept=["json"], no_ack=True)
        consumer.register_callback(lambda _body, message: received.append(message))
        with consumer:
            intake, its_pace = channel.intake, channel.intake.pace

            def has_looked() -> bool:
                return _drained(connection) and its_pace.may_sleep and its_pace.due_in_s > IDLE_S / 2

            wait_until(has_looked, message="it is idle")
            looks = []
            noted, its_pace.sent = its_pace.sent, lambda: (looks.append(None), noted())
            for number in range(1, 4):
                wait_until(has_looked, message="it has just looked")
                # As other workers do it all the time, in keys that belong to all.
                client.hset(f"{key_prefix}unacked", "another's", "message")
                client.hdel(f"{key_prefix}unacked", "another's")
                client.zadd(f"{key_prefix}unacked_index", {"another's": 1})
                client.zrem(f"{key_prefix}unacked_index", "another's")
                assert not intake.wakeup.connection.can_read(timeout=0.02)
                looks.clear()
                bench.put("first")
                wait_until(lambda: has_looked() and looks, message="it has looked")
                assert (len(looks), len(received)) == (1, number)


def _drained(connection: Any) -> bool:
    """Turn the loop once, for a moment."""
    with contextlib.suppress(Empty, TimeoutError):
        connection.drain_events(timeout=0.02)
    return True
