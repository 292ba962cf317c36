"""Another program's keys under our names: what reads them names each with the mend, and shows all that is not in it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetter, DeadLetters, LetterFilter
from routemq.envelope import Envelope, TaskMessage
from routemq.lifecycle.scripts import UnusableKeyError
from routemq.metrics.fleet import read_fleet
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from routemq.settings import Settings
from tests.servers import Redis


@pytest.fixture
def client(redis_store: Redis) -> Iterator[redis.Redis]:
    settings = Settings(_env_file=None, redis_url=redis_store.url)  # type: ignore[call-arg,arg-type]
    with connect_redis(settings) as connected:
        yield connected


@pytest.fixture
def keys(key_prefix: str) -> Keys:
    return Keys(key_prefix)


@pytest.fixture
def letters(client: redis.Redis, keys: Keys) -> DeadLetters:
    store = DeadLetters(client, keys)
    for route in ("good", "bad"):
        message = TaskMessage(route=route, queue="q", id=route, envelope=Envelope(topic=route, payload=b"1"))
        letter = DeadLetter.of(message, reason="failed", error=ValueError("no"), worker="w")
        store.bury_direct([(letter, message.encode())])
    return store


def put_another(client: redis.Redis, key: str) -> None:
    """Replace what is there by a value of another type."""
    kind = client.type(key)
    client.delete(key)
    if kind == b"string":
        client.rpush(key, "x")
    else:
        client.set(key, "x")


Read = Callable[[DeadLetters], Any]


@pytest.mark.parametrize(
    ("key", "read"),
    [
        (lambda keys: keys.dead_raw, lambda store: store.get("good:0")),
        (lambda keys: keys.dead_raw, lambda store: store.raw_bytes("good:0")),
        (lambda keys: keys.dead_raw, lambda store: store.peek("good:0", most_bytes=10)),
        (lambda keys: keys.dead_raw, lambda store: list(store.letters(LetterFilter(contains="1")))),
        (lambda keys: keys.dead_entries, lambda store: store.get("good:0")),
        (lambda keys: keys.dead_entries, lambda store: store.page()),
        (lambda keys: keys.dead_entries, lambda store: store.gone(["good:0"])),
        (lambda keys: keys.dead_routes, lambda store: store.stats()),
        (lambda keys: keys.dead_audit, lambda store: store.audit()),
        (lambda keys: keys.dead_full_routes, lambda store: store.full_routes()),
        (lambda keys: keys.dead_frozen_ids("r"), lambda store: store.frozen.head("r", 10)),
        (lambda keys: keys.dead_frozen("r"), lambda store: store.unfinished_replay("r")),
        (lambda keys: keys.dead_frozen_all, lambda store: store.unfinished_replays()),
        (lambda keys: keys.dead_import("d"), lambda store: store.imported_lines("d")),
    ],
)
def test_who_reads_another_programs_key_names_it_and_the_mend(
    client: redis.Redis, keys: Keys, letters: DeadLetters, key: Callable[[Keys], str], read: Read
) -> None:
    name = key(keys)
    if name == keys.dead_import("d"):
        client.set(name, 1)
    put_another(client, name)
    with pytest.raises(UnusableKeyError, match="Mend: rename or delete it") as caught:
        read(letters)
    assert caught.value.key == name


@pytest.mark.parametrize(
    "key",
    [
        lambda keys: keys.dead_by_time("bad"),
        lambda keys: keys.dead_counters("bad"),
        lambda keys: keys.dead_by_reason("bad", "failed"),
    ],
)
def test_what_is_of_one_route_hides_no_other(
    client: redis.Redis, keys: Keys, letters: DeadLetters, key: Callable[[Keys], str], caplog: pytest.LogCaptureFixture
) -> None:
    put_another(client, key(keys))
    assert "good:0" in [letter.id for letter in letters.page().letters]
    assert letters.count() >= 1
    assert [letter.id for letter in letters.letters(LetterFilter(queue="q", reason="failed"))][-1:] == ["good:0"]
    assert "good" in [group.name for group in letters.stats().routes]
    assert sum(bucket.count for bucket in letters.histogram()) >= 1
    assert f"left alone: the Redis key {key(keys)!r} is a string where RouteMQ keeps a" in caplog.text


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 5000, b"\xff"])
def test_what_is_no_count_of_imported_lines_is_named(
    client: redis.Redis, keys: Keys, letters: DeadLetters, value: str | bytes
) -> None:
    client.set(keys.dead_import("d"), value)
    with pytest.raises(UnusableKeyError, match="Mend: rename or delete it"):
        letters.imported_lines("d")


def test_what_is_no_text_hides_nothing(client: redis.Redis, keys: Keys, letters: DeadLetters) -> None:
    begun = letters.freeze(["good:0"], actor="ana")
    client.zadd(keys.dead_frozen_all, {b"\xff": 1})
    client.hset(keys.dead_frozen(begun.id), b"\xff", b"\xff")
    client.sadd(keys.dead_frozen_sent(begun.id), b"\xff")
    client.hset(keys.dead_full_routes, b"\xff", b"\xff")
    assert [replay.id for replay in letters.unfinished_replays()] == [begun.id]
    assert letters.sent.look(begun, ["q"]).letters == ()
    assert letters.full_routes() == {"\ufffd": "\ufffd"}
    assert letters.stats().total == 2
    assert read_fleet(client, keys, queues=["q"], routes=(), group="g").full_routes == {"\ufffd"}


@pytest.mark.parametrize("value", [None, "x", ""])
def test_one_routes_totals_hide_no_others(
    client: redis.Redis, keys: Keys, letters: DeadLetters, value: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    if value is None:
        put_another(client, keys.counters("bad"))
    else:
        client.hset(keys.counters("bad"), "done", value)
    totals = read_totals(client, keys)
    assert totals["good"].dead == 1
    assert ("bad" in totals) == (value is not None)
    assert keys.counters("bad") in caplog.text


def test_an_unfinished_replay_that_cannot_be_read_hides_no_other(
    client: redis.Redis, keys: Keys, letters: DeadLetters, caplog: pytest.LogCaptureFixture
) -> None:
    begun = [letters.freeze([name], actor="ana") for name in ("good:0", "bad:0")]
    put_another(client, keys.dead_frozen(begun[1].id))
    assert [replay.id for replay in letters.unfinished_replays()] == [begun[0].id]
    assert keys.dead_frozen(begun[1].id) in caplog.text
