"""PUBACK only for what Redis has taken: keys of others, messages that it cannot take, answers that do not come."""

import base64
import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from routemq_ingest.batch import Entry, OpenBatch
from routemq_ingest.queue_writer import QueueWriter, Sent
from routemq_ingest.remains import Remains
from routemq_ingest.worker import IngestWorker

from routemq import Router
from routemq.connections import connect_redis
from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.encoding import MessageEncoder
from routemq.eviction import EvictionWatch
from routemq.metrics.totals import read_totals
from routemq.queues import Keys
from routemq.settings import Settings
from tests.ingest import CONTROLLER, FakeBroker, ingesting, payloads, settings_for
from tests.link import Link
from tests.processes import wait_until
from tests.servers import Redis, Stack

MakeStore = Callable[..., Redis]
DATA, OTHER = "data route", "other route"


class Ingest:
    """An ingest worker between a broker that says what a test wants and a Redis."""

    def __init__(self, broker: FakeBroker, worker: IngestWorker, store: Redis, keys: Keys) -> None:
        self.broker, self.worker, self.store, self.keys = broker, worker, store, keys
        self._sent = 0

    def publish(self, name: str, *messages: bytes) -> None:
        """Send messages for the route `<name> route`, or for none; packet identifiers count from 1."""
        found = [number for topic_filter, number in self.broker.identifiers.items() if topic_filter.endswith(name)]
        for message in messages:
            self._sent += 1
            self.broker.publish(f"t/{name}".encode(), message, mid=self._sent, identifiers=tuple(found) or (4711,))

    def wait_for_pubacks(self) -> None:
        """Wait until all that was sent is acknowledged, in order."""
        wait_until(
            lambda: self.broker.pubacks == list(range(1, self._sent + 1)),
            message=f"{self._sent} messages are acknowledged ({self.worker.pause})",
        )

    def wait_for_pause(self, word: str) -> None:
        """Wait until no messages are taken, for a reason that has this word, and that was tried again."""
        wait_until(lambda: word in (self.worker.pause or ""), message=f"ingest pauses and says {word!r}")
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > 1.0, message="Redis was asked again")

    def payloads(self, queue: str) -> list[bytes]:
        return payloads(self.store, self.keys.prefix, queue)

    def letters(self) -> list[tuple[dict[str, Any], bytes]]:
        """The descriptions of the dead letters, with what is kept of the messages."""
        with self.store.client() as client:
            kept: Any = client.hgetall(self.keys.dead_raw)
            found: Any = client.hgetall(self.keys.dead_entries)
            return [(json.loads(about), kept[name]) for name, about in found.items()]

    def received(self) -> int:
        with self.store.client() as client:
            return sum(total.received for total in read_totals(client, self.keys).values())


MakeIngest = Callable[..., Ingest]


@pytest.fixture
def ingest_with(key_prefix: str, group_name: str) -> Iterator[MakeIngest]:
    """Start ingest on a store: `ingest_with(store, ingest_max_payload_bytes=10)`."""
    router = Router()
    for name in ("data", "other"):
        router.on(f"t/{name}", CONTROLLER, shared=True, queue=name, name=f"{name} route")
    with contextlib.ExitStack() as stack:

        def start(store: Redis, **more: Any) -> Ingest:
            broker = stack.enter_context(FakeBroker())
            servers = Stack(name="fake", broker=broker, store=store)  # type: ignore[arg-type]
            settings = settings_for(servers, key_prefix=key_prefix, group=group_name, **more)
            return Ingest(broker, stack.enter_context(ingesting(settings, router)), store, Keys(key_prefix))

        yield start


@pytest.mark.parametrize(
    ("name", "key", "command", "arguments"),
    [
        ("data", lambda keys: keys.queue("data"), "HSET", ("a", "b")),
        ("data", lambda keys: keys.counters(DATA), "SET", ("x",)),
        ("data", lambda keys: keys.counters(DATA), "HSET", ("received", "x")),
        ("data", lambda keys: keys.counters(DATA), "HSET", ("received", 2**63 - 1)),
        ("data", lambda keys: keys.counters(DATA), "HSET", ("received", "007")),
        ("data", lambda keys: keys.counted_routes, "RPUSH", ("x",)),
        ("nobody", lambda keys: keys.dead_entries, "RPUSH", ("x",)),
    ],
    ids=["queue", "totals", "a total", "a full total", "a strange total", "counted routes", "letters"],
)
def test_a_key_of_another_stops_ingest_until_it_is_mended_and_then_each_message_comes_once(
    redis_store: Redis, ingest_with: MakeIngest, name: str, key: Callable[[Keys], str], command: str,
    arguments: tuple[str, ...],
) -> None:  # fmt: skip
    ingest = ingest_with(redis_store)
    with redis_store.client() as client:
        client.execute_command(command, key(ingest.keys), *arguments)
        ingest.publish("other", b"0")
        ingest.publish(name, b"1", b"2")
        ingest.publish("other", b"3")
        ingest.wait_for_pause(key(ingest.keys))
        # What came before the other key was met may be queued; of the rest, nothing may be forgotten.
        assert ingest.broker.pubacks in ([], [1])
        client.delete(key(ingest.keys))
    ingest.wait_for_pubacks()
    wait_until(lambda: ingest.worker.pause is None, message="messages are taken again")
    assert ingest.payloads("other") == [b"0", b"3"]
    if name == "data":
        assert ingest.payloads("data") == [b"1", b"2"]
    else:
        assert [about["reason"] for about, _ in ingest.letters()] == ["unroutable", "unroutable"]
    assert ingest.received() == 4


def test_a_user_who_may_not_count_stops_ingest_and_doubles_nothing(
    own_store: MakeStore, ingest_with: MakeIngest
) -> None:
    store = own_store()
    with store.client() as client:
        client.acl_setuser("clerk", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-hincrby"])
        ingest = ingest_with(store, redis_url=f"redis://clerk:x@{store.host}:{store.port}/0")
        ingest.publish("data", b"1", b"2")
        ingest.wait_for_pause("HINCRBY")
        assert ingest.broker.pubacks == []
        assert ingest.payloads("data") == []
        client.acl_setuser("clerk", enabled=True, nopass=True, keys=["*"], commands=["+hincrby"])
    ingest.wait_for_pubacks()
    assert ingest.payloads("data") == [b"1", b"2"]


def test_what_is_larger_than_redis_takes_is_buried_without_its_payload_and_the_rest_goes_on(
    own_store: MakeStore, ingest_with: MakeIngest
) -> None:
    store = own_store("redis", options={"proto-max-bulk-len": "1mb"})
    ingest = ingest_with(store)
    large = b"\xff\x00" + b"x" * 1_000_000
    ingest.publish("data", b"before", large, b"after")
    ingest.publish("nobody", large)
    ingest.publish("other", b"last")
    ingest.wait_for_pubacks()
    assert ingest.payloads("data") == [b"before", b"after"]
    assert ingest.payloads("other") == [b"last"]
    for about, kept in ingest.letters():
        assert about["payload_bytes"] == len(large)
        told = json.loads(kept)
        assert told["payload_sha256"] == hashlib.sha256(large).hexdigest()
        assert told["payload_bytes"] == len(large)
        assert len(kept) < 10_000
    assert sorted(about["reason"] for about, _ in ingest.letters()) == ["too_large", "unroutable"]
    assert ingest.received() == 5


@pytest.mark.parametrize("mistake", ["raise SystemExit(3)", "return payload.decode()", "raise ValueError"])
def test_whatever_a_redaction_hook_does_to_one_message_the_others_go_on(
    redis_server: Redis, ingest_with: MakeIngest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    module = f"hook_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        f"def hook(topic, payload):\n    if b'wicked' in payload:\n        {mistake}\n    return payload\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    ingest = ingest_with(redis_server, dlq_redact_hook=f"{module}:hook", ingest_max_payload_bytes=10)
    messages = [b"x" * 20 + b"%d" % number for number in range(6)]
    ingest.publish("data", *messages[:3], b"wicked" * 5, *messages[3:], b"fine")
    ingest.wait_for_pubacks()
    assert ingest.payloads("data") == [b"fine"]
    letters = ingest.letters()
    assert len(letters) == 7
    assert not any(b"wicked" in kept or base64.b64encode(b"wicked") in kept for _, kept in letters)
    assert ingest.received() == 8


def entries_of(*messages: bytes) -> list[Entry]:
    encoder = MessageEncoder(route=DATA, queue="data")
    made = [encoder.encode("t/data", each, qos=1, retain=False, received_at=b"0.0") for each in messages]
    return [(DATA, "data", item, None, None, 0) for item in made]


def writer_on(client: "redis.Redis", key_prefix: str) -> QueueWriter:
    keys = Keys(key_prefix)
    letters = DeadLetters(client, keys)
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    return QueueWriter(
        client,
        keys,
        letters,
        quick=client,
        client_id="w",
        remains=Remains(settings, worker="w"),
        plain=letters,
        eviction=EvictionWatch(client, allowed=False),
    )


def sent(writer: QueueWriter, entries: list[Entry]) -> Sent:
    """Send them as ingest does: until Redis' answer is heard."""
    return wait_until(lambda: writer.send(entries), message="redis answers", ignoring=(redis.TimeoutError,))


def client_of(store: Redis, port: int, *, timeout_s: float) -> "redis.Redis":
    url = f"redis://{store.host}:{port}/0"
    return connect_redis(Settings(_env_file=None, redis_url=url), timeout_s=timeout_s)  # type: ignore[call-arg]


def test_what_cannot_be_sent_in_the_sockets_time_is_found_and_buried(redis_server: Redis, key_prefix: str) -> None:
    small = [b"%d" % number for number in range(20)]
    with (
        Link(redis_server.port, bytes_per_s=200_000) as link,
        client_of(redis_server, link.port, timeout_s=0.5) as client,
    ):
        writer = writer_on(client, key_prefix)
        batch = OpenBatch()
        for entry in entries_of(*small, b"x" * 6_000_000, b"last"):
            batch.add(entry)
        while batch:
            with contextlib.suppress(redis.RedisError):
                batch.settle(writer.send(batch.head()).taken)
    assert payloads(redis_server, key_prefix, "data") == [*small, b"last"]
    with redis_server.client() as client:
        (letter,) = DeadLetters(client, Keys(key_prefix)).letters()
        assert (letter.reason, letter.payload_bytes) == ("too_large", 6_000_000)


def test_what_redis_did_while_nobody_heard_its_answer_is_not_done_again(own_store: MakeStore, key_prefix: str) -> None:
    store = own_store()
    with client_of(store, store.port, timeout_s=0.3) as client:
        writer, entries = writer_on(client, key_prefix), entries_of(b"1", b"2")
        assert sent(writer, entries_of(b"0")).taken == 1
        store.pause()
        for _ in range(4):
            with pytest.raises(redis.TimeoutError):
                writer.send(entries)
        store.resume()
        assert sent(writer, [*entries, *entries_of(b"3")]).lengths == {"data": 3}
        assert sent(writer, entries_of(b"3")).taken == 1
    assert payloads(store, key_prefix, "data") == [b"0", b"1", b"2", b"3"]
    with store.client() as client:
        assert read_totals(client, Keys(key_prefix))[DATA].received == 4


@pytest.mark.parametrize("item", [b'{"truncated": true}', b"no message"], ids=["remains", "nothing"])
def test_a_letter_that_cannot_be_written_becomes_a_plainer_one(
    redis_server: Redis, key_prefix: str, item: bytes
) -> None:
    # No JSON has a number of this size.
    unwritable = DeadLetter(
        id="x:0", route=DATA, queue="data", reason="malformed", topic="t/data", exception="ValueError", message="",
        fingerprint="0" * 12, attempts=10**30,
    )  # fmt: skip
    whole = entries_of(b"1")[0]
    wicked = [(DATA, "data", item, unwritable, None, 0), (*whole[:3], unwritable, None, 0)]
    with redis_server.client() as client, client_of(redis_server, redis_server.port, timeout_s=5.0) as ours:
        writer, batch = writer_on(ours, key_prefix), OpenBatch()
        for entry in (*entries_of(b"before"), *wicked, *entries_of(b"after")):
            batch.add(entry)
        while batch:
            batch.settle(writer.send(batch.head()).taken)
        assert payloads(redis_server, key_prefix, "data") == [b"before", b"after"]
        letters = list(DeadLetters(client, Keys(key_prefix)).letters())
        assert [(letter.route, letter.reason) for letter in letters] == [(DATA, "malformed")] * 2
        kept = [json.loads(raw) for raw in client.hvals(Keys(key_prefix).dead_raw)]
        assert {"truncated": True, "item_bytes": len(item), "item_sha256": hashlib.sha256(item).hexdigest()} in kept
        assert read_totals(client, Keys(key_prefix))[DATA].received == 4


def test_a_redis_that_does_not_answer_or_forgot_its_scripts_gets_each_message_once(
    own_store: MakeStore, ingest_with: MakeIngest
) -> None:
    store = own_store()
    ingest = ingest_with(store)
    ingest.publish("data", b"0")
    ingest.wait_for_pubacks()
    for number in range(1, 5):
        if number % 2:
            store.pause()
        else:
            with store.client() as client:
                client.script_flush()
        ingest.publish("data", b"%d" % number)
        if number % 2:
            # The loop has sent it, and waits for nothing.
            wait_until(lambda: ingest.worker.pause is not None, message="a thread waits for redis")
            assert ingest.worker.health.alive
            store.resume()
        ingest.wait_for_pubacks()
        wait_until(lambda: ingest.worker.pause is None, message="messages are taken again")
    assert ingest.payloads("data") == [b"%d" % number for number in range(5)]
    assert ingest.received() == 5


def test_the_loop_sends_what_a_redis_that_is_there_takes_at_once(redis_server: Redis, key_prefix: str) -> None:
    with redis_server.client() as client, client_of(redis_server, redis_server.port, timeout_s=5.0) as ours:
        writer = writer_on(ours, key_prefix)
        # Before it is known whether this Redis can be used at all, and without a connection, nothing is.
        assert not writer.begin(entries_of(b"0"))
        assert writer.look(["data"]) == {"data": 0}
        for number in range(3):
            assert writer.begin(entries_of(b"%d" % number))
            assert writer.finish() == (1, {"data": number + 1})
        client.script_flush()
        assert writer.begin(entries_of(b"3"))
        with pytest.raises(redis.exceptions.NoScriptError):
            writer.finish()
        # Its fate is found out by `send` alone, and it is queued once even though it is asked for twice.
        assert not writer.begin(entries_of(b"3"))
        assert writer.send(entries_of(b"3")) == (1, {"data": 4})
        assert writer.begin(entries_of(b"4"))
        writer.drop()
        writer.send(entries_of(b"4"))
    assert payloads(redis_server, key_prefix, "data") == [b"0", b"1", b"2", b"3", b"4"]
