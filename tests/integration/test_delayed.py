"""Retries that wait in Redis."""

import time
from dataclasses import replace

import redis

from routemq.envelope import Envelope, FailedAttempt, TaskMessage, unacked_record
from routemq.lifecycle.moves import MOST_DUE, Moves
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from tests.processes import wait_until


def held(client: redis.Redis, keys: Keys, message: TaskMessage) -> None:
    """Put the message into a worker's hands, as the transport does."""
    client.hset(keys.unacked, message.delivery_tag, unacked_record(message.encode(), message.queue))
    client.zadd(keys.unacked_index, {message.delivery_tag: time.time()})


def a_message(queue: str = "sensors.data") -> TaskMessage:
    return TaskMessage(
        route="sensors/{device_id}/data",
        queue=queue,
        envelope=Envelope(topic="sensors/d1/data", payload=b"[[], 1e400]"),
    )


def failed(message: TaskMessage) -> TaskMessage:
    return message.failed(FailedAttempt(at=1790000000.0, error="ValueError: no", worker="w@host"))


def retry(moves: Moves, following: TaskMessage, *, tag: str, delay_s: float) -> bool:
    return moves.retry_later(following.encode(), tag=tag, queue=following.queue, route=following.route, delay_s=delay_s)


def test_retry_waits_until_it_is_due_and_goes_to_the_back(client: redis.Redis, keys: Keys) -> None:
    moves, message = Moves(client, keys), a_message()
    client.lpush(keys.queue(message.queue), b"in front")
    held(client, keys, message)
    following = failed(message)

    assert retry(moves, following, tag=message.delivery_tag, delay_s=0.3)
    assert not client.exists(keys.unacked, keys.unacked_index)
    wait_s = moves.promote([message.queue])
    assert wait_s is not None
    assert 0 < wait_s <= 0.3
    assert client.lrange(keys.queue(message.queue), 0, -1) == [b"in front"]

    wait_until(lambda: moves.promote([message.queue]) is None, message="the retry is due")
    assert client.lrange(keys.queue(message.queue), 0, -1) == [following.encode(), b"in front"]
    assert TaskMessage.decode(following.encode()).failures == following.failures
    assert read_totals(client, keys)[message.route].retried == 1


def test_retry_of_a_message_that_is_not_held_does_nothing(client: redis.Redis, keys: Keys) -> None:
    message = a_message()
    assert not retry(Moves(client, keys), failed(message), tag="x", delay_s=0)
    assert list(client.scan_iter(f"{keys.prefix}*")) == []


def test_promote_names_the_soonest_of_all_queues(client: redis.Redis, keys: Keys) -> None:
    moves = Moves(client, keys)
    for queue, delay_s in (("slow", 300.0), ("soon", 30.0), ("due", 0.0)):
        message = a_message(queue)
        held(client, keys, message)
        retry(moves, failed(message), tag=message.delivery_tag, delay_s=delay_s)
    wait_s = moves.promote(["slow", "soon", "due", "empty"])
    assert wait_s is not None
    assert 25 < wait_s <= 30
    assert client.llen(keys.queue("due")) == 1
    assert moves.promote([]) is None


def test_promote_moves_many_in_order_of_their_time(client: redis.Redis, keys: Keys) -> None:
    message = a_message()
    items = [replace(message, id=f"m{number:04}").encode() for number in range(1100)]
    client.zadd(keys.delayed(message.queue), {item: number for number, item in enumerate(items)})
    moves = Moves(client, keys)
    assert moves.promote([message.queue]) == 0.0
    assert client.llen(keys.queue(message.queue)) == MOST_DUE
    wait_until(lambda: moves.promote([message.queue]) is None)
    assert client.lrange(keys.queue(message.queue), 0, -1) == items[::-1]


def test_scripts_outlive_a_flush(client: redis.Redis, keys: Keys) -> None:
    moves, message = Moves(client, keys), a_message()
    held(client, keys, message)
    client.script_flush()
    assert retry(moves, failed(message), tag=message.delivery_tag, delay_s=0)
    client.script_flush()
    assert moves.promote([message.queue]) is None
    assert client.llen(keys.queue(message.queue)) == 1
