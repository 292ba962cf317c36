"""Burial: from a worker's hands, or straight from ingest, into the store."""

import contextlib
import time
from typing import cast

import orjson
import pytest
import redis

from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.envelope import Envelope, FailedAttempt, TaskMessage, unacked_record
from routemq.lifecycle.scripts import Script, UnusableKeyError
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from tests.servers import Redis

ROUTE = "sensors/{device_id}/data"
QUEUE = "sensors.data"


def a_message(payload: bytes = b'{"temperature": 21.5}') -> TaskMessage:
    return TaskMessage(route=ROUTE, queue=QUEUE, envelope=Envelope(topic="sensors/d1/data", payload=payload))


def an_error(text: str = "no sensor 17") -> ValueError:
    try:
        int(text)
    except ValueError as exc:
        exc.args = (text,)
        return exc
    raise AssertionError(text)


def letter_of(message: TaskMessage) -> DeadLetter:
    return DeadLetter.of(message, reason="failed", error=an_error(), worker="w@host")


def hold(client: redis.Redis, keys: Keys, tag: str, record: bytes) -> None:
    client.hset(keys.unacked, tag, record)
    client.zadd(keys.unacked_index, {tag: time.time()})


def kept(client: redis.Redis, keys: Keys) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", client.hgetall(keys.dead_raw))


def test_burial_moves_the_bytes_as_they_are(client: redis.Redis, keys: Keys) -> None:
    message = a_message().failed(FailedAttempt(at=1790000000.5, error="ValueError: no", worker="w@host"))
    letter = letter_of(message)
    hold(client, keys, message.delivery_tag, unacked_record(message.encode(), QUEUE))
    assert DeadLetters(client, keys).bury(letter, delivery_tag=message.delivery_tag)

    assert kept(client, keys) == {f"{message.id}:0".encode(): message.encode()}
    assert not client.exists(keys.unacked, keys.unacked_index)
    died_at = client.zscore(keys.dead_by_time(ROUTE), letter.id)
    assert died_at is not None
    assert abs(died_at - time.time()) < 60
    assert client.zcard(keys.dead_by_reason(ROUTE, "failed")) == 1
    assert client.zcard(keys.dead_by_error(ROUTE, letter.fingerprint)) == 1
    assert read_totals(client, keys)[ROUTE].dead == 1
    found = DeadLetter.from_description(
        letter.id, cast("bytes", client.hget(keys.dead_entries, letter.id)), died_at=died_at
    )
    assert (found.topic, found.attempts, found.first_at) == ("sensors/d1/data", 2, 1790000000.5)
    assert (found.error, found.payload_bytes, found.worker) == ("ValueError: no sensor 17", 21, "w@host")


@pytest.mark.parametrize(
    "item",
    [
        b'{"empty": {}, "list": [], "big": 12345678901234567890123, "float": 1e400, "last": "\\",\\"x\\"]"}',
        b'[],"", "q"',
        b"not JSON at all \xff\n",
        b"[" * 100_000,
        b"",
    ],
    ids=["numbers", "array", "binary", "deep", "empty"],
)
@pytest.mark.parametrize("separator", [b",", b", "], ids=["ours", "stock"])
def test_malformed_message_is_kept_byte_for_byte(
    client: redis.Redis, keys: Keys, item: bytes, separator: bytes
) -> None:
    hold(client, keys, "tag", b"[" + separator.join([item, b'""', orjson.dumps(QUEUE)]) + b"]")
    letter = DeadLetter.bare(route=ROUTE, queue=QUEUE, message_id="m1", error=an_error(), worker="w@host")
    assert DeadLetters(client, keys).bury(letter, delivery_tag="tag")
    assert kept(client, keys) == {b"m1:0": item}


def test_burial_of_what_is_not_held_does_nothing(client: redis.Redis, keys: Keys) -> None:
    assert not DeadLetters(client, keys).bury(letter_of(a_message()), delivery_tag="gone")
    assert list(client.scan_iter(f"{keys.prefix}*")) == []


def test_duplicate_makes_one_letter_and_another_message_of_the_same_id_makes_two(
    client: redis.Redis, keys: Keys
) -> None:
    store, message = DeadLetters(client, keys), a_message()
    for tag in ("first", "second"):
        hold(client, keys, tag, unacked_record(message.encode(), QUEUE))
        assert store.bury(letter_of(message), delivery_tag=tag)
    assert len(kept(client, keys)) == 1
    assert not client.exists(keys.unacked)
    assert read_totals(client, keys)[ROUTE].dead == 1

    other = TaskMessage(
        id=message.id, route=ROUTE, queue=QUEUE, envelope=Envelope(topic="sensors/d2/data", payload=b"")
    )
    hold(client, keys, "third", unacked_record(other.encode(), QUEUE))
    assert store.bury(letter_of(other), delivery_tag="third")
    assert kept(client, keys) == {
        f"{message.id}:0".encode(): message.encode(),
        f"{message.id}:0~2".encode(): other.encode(),
    }


def test_direct_burial_keeps_order_and_shares_tracebacks(client: redis.Redis, keys: Keys) -> None:
    messages = [a_message(str(number).encode()) for number in range(50)]
    error = an_error()
    letters = [DeadLetter.of(message, reason="too_large", error=error, worker="ingest") for message in messages]
    store = DeadLetters(client, keys)
    pairs = [(letter, message.encode()) for letter, message in zip(letters, messages, strict=True)]
    store.bury_direct(pairs)
    store.bury_direct(pairs)
    store.bury_direct([])
    order = cast("list[bytes]", client.zrange(keys.dead_by_time(ROUTE), 0, -1))
    assert [name.decode() for name in order] == [letter.id for letter in letters]
    assert client.hlen(keys.dead_tracebacks) == 1
    assert read_totals(client, keys)[ROUTE].dead == 50


def test_route_is_marked_full_and_what_is_in_hand_is_still_buried(client: redis.Redis, keys: Keys) -> None:
    store = DeadLetters(client, keys, max_entries=2)
    for number in range(3):
        assert client.hgetall(keys.dead_full_routes) == ({ROUTE.encode(): QUEUE.encode()} if number >= 2 else {})
        message = a_message()
        store.bury_direct([(letter_of(message), message.encode())])
    assert len(kept(client, keys)) == 3


def test_burial_works_in_a_full_redis(own_store: object) -> None:
    store: Redis = own_store("redis", options={"maxmemory": "6mb", "maxmemory-policy": "noeviction"})  # type: ignore[operator]
    keys, message = Keys("full:"), a_message()
    with store.client() as client:
        hold(client, keys, message.delivery_tag, unacked_record(message.encode(), QUEUE))
        with contextlib.suppress(redis.OutOfMemoryError):
            while True:
                client.rpush("ballast", b"x" * 200_000)
        assert DeadLetters(client, keys).bury(letter_of(message), delivery_tag=message.delivery_tag)
        assert client.hlen(keys.dead_raw) == 1


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), "x", "007", "+1", "1.0", "", " 1"])
@pytest.mark.parametrize("field", ["buried", "reason:failed", "queue:sensors.data"])
def test_a_number_that_redis_could_not_count_is_found_before_anything_is_written(
    client: redis.Redis, keys: Keys, field: str, value: object
) -> None:
    message = a_message()
    hold(client, keys, message.delivery_tag, unacked_record(message.encode(), QUEUE))
    client.hset(keys.dead_counters(ROUTE), field, str(value))
    before = sorted(client.scan_iter(f"{keys.prefix}*"))
    with pytest.raises(UnusableKeyError, match=f"holds no number in its field {field!r}"):
        DeadLetters(client, keys).bury(letter_of(message), delivery_tag=message.delivery_tag)
    assert sorted(client.scan_iter(f"{keys.prefix}*")) == before
    client.hdel(keys.dead_counters(ROUTE), field)
    assert DeadLetters(client, keys).bury(letter_of(message), delivery_tag=message.delivery_tag)


@pytest.mark.parametrize("total", [2**63 - 1, "x"])
def test_a_total_that_redis_could_not_count_is_left_out(client: redis.Redis, keys: Keys, total: object) -> None:
    message = a_message()
    hold(client, keys, message.delivery_tag, unacked_record(message.encode(), QUEUE))
    client.hset(keys.counters(ROUTE), "dead", str(total))
    assert DeadLetters(client, keys).bury(letter_of(message), delivery_tag=message.delivery_tag)
    assert client.hget(keys.counters(ROUTE), "dead") == str(total).encode()


def test_an_audit_at_the_end_of_its_numbers_lets_nothing_be_taken_away_unseen(client: redis.Redis, keys: Keys) -> None:
    message = a_message()
    letters = DeadLetters(client, keys)
    letters.bury_direct([(letter_of(message), message.encode())])
    client.xadd(keys.dead_audit, {"a": "b"}, id="18446744073709551615-18446744073709551615")
    for change in (letters.discard, letters.replay):
        with pytest.raises(redis.ResponseError, match="exhausted the last possible ID"):
            change([letter_of(message).id], actor="ana")  # type: ignore[operator]
        assert letters.is_there(letter_of(message).id)
        assert client.llen(keys.queue(QUEUE)) == 0


def test_a_delay_that_is_no_number_moves_nothing(client: redis.Redis, keys: Keys) -> None:
    message = a_message()
    hold(client, keys, message.delivery_tag, unacked_record(message.encode(), QUEUE))
    script = Script(client, "retry_later")
    with pytest.raises(redis.ResponseError, match="argument 3 is no number"):
        script(
            keys=[keys.unacked, keys.unacked_index, keys.delayed(QUEUE), keys.counters(ROUTE), keys.counted_routes],
            args=[message.delivery_tag, message.encode(), "nan", ROUTE],
        )
    assert client.hlen(keys.unacked) == 1
