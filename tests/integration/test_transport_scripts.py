"""The scripts against a model: a message is in exactly one place, whatever happens in whatever order."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from routemq_transport.fetcher import Fetched, Fetcher, Turn
from routemq_transport.items import Item
from routemq_transport.scripts import LeaseTimes, Scripts, TransportKeys

from routemq.counters import RouteTotals, read_totals
from routemq.dead_letters import DeadLetter, DeadLetters
from routemq.delayed import DelayedRetries
from routemq.envelope import Envelope, TaskMessage
from routemq.queues import Keys
from tests.servers import Redis

QUEUES = ("a", "b", 'c"\\ü')
PRIORITIES = (0, 3)
LEASE = LeaseTimes(own_s=100, others_s=1000)


class Worker:
    """One worker's fetcher, and what it believes to hold."""

    def __init__(self, client: "redis.Redis", keys: TransportKeys) -> None:
        self._connection = client.connection_pool.get_connection()
        self._fetcher = Fetcher(keys)
        self.held: dict[str, Item] = {}

    def fetch(
        self, queues: tuple[str, ...], most: int, *, fair: bool = True, held: int | None = None, mark: bool = False
    ) -> Fetched:
        self._fetcher.send(
            self._connection,
            Turn(queues=queues, priorities=PRIORITIES, fair=fair),
            most=most,
            held=len(self.held) if held is None else held,
            told=False,
            mark=mark,
        )
        fetched = self._fetcher.read(self._connection)
        self.held.update({item.tag: item for item in fetched.items})
        return fetched

    def close(self) -> None:
        self._connection.disconnect()


class Place:
    """Keys and scripts under a prefix of their own."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self.keys = Keys(f"s{uuid.uuid4().hex[:10]}:")
        self.transport_keys = TransportKeys(
            prefix=self.keys.prefix,
            unacked=self.keys.unacked,
            unacked_index=self.keys.unacked_index,
            separator="\x06\x16",
        )
        self.scripts = Scripts(client, self.transport_keys, most_delay_s=60)
        self.letters = DeadLetters(client, self.keys)
        self.delayed = DelayedRetries(client, self.keys)

    def list_name(self, queue: str, priority: int = 0) -> str:
        return f"{queue}\x06\x16{priority}" if priority else queue

    def put(self, *items: bytes, queue: str = "a", priority: int = 0) -> None:
        self.client.lpush(self.keys.prefix + self.list_name(queue, priority), *items)

    def items(self, queue: str = "a", priority: int = 0) -> list[bytes]:
        found: Any = self.client.lrange(self.keys.prefix + self.list_name(queue, priority), 0, -1)
        return list(reversed(found))

    def expire_leases(self, seconds: float) -> None:
        """Let this much time pass for what is held, or go back."""
        entries: Any = self.client.zrange(self.keys.unacked_index, 0, -1, withscores=True)
        for tag, score in entries:
            self.client.zadd(self.keys.unacked_index, {tag: score - seconds})


@pytest.fixture
def place(redis_store: Redis) -> Iterator[Place]:
    with redis_store.client() as client:
        yield Place(client)


def test_what_is_done_is_counted_by_route_if_it_was_held(place: Place) -> None:
    place.put(*[b"%d" % number for number in range(2600)])
    worker = Worker(place.client, place.transport_keys)
    while worker.fetch(("a",), 100).items:
        pass
    tags = list(worker.held)
    # More than one part, as after Redis was away.
    place.scripts.acknowledge({None: tags[:50], "one": tags[50:2550], "two": tags[2550:2570]})
    place.scripts.acknowledge({"two": [*tags[2560:2580], "of nobody"], "none": tags[:5], "one": tags[2580:2590]})
    totals = read_totals(place.client, place.keys)
    assert {route: found.done for route, found in totals.items()} == {"one": 2510, "two": 30}
    assert place.client.hlen(place.keys.unacked) == place.client.zcard(place.keys.unacked_index) == 10
    worker.close()


def test_queues_take_fair_turns_and_priorities_go_first(place: Place) -> None:
    for queue in QUEUES:
        place.put(*[f"{queue}{number}".encode() for number in range(10)], queue=queue)
    place.put(b"late", queue="b", priority=3)
    worker = Worker(place.client, place.transport_keys)
    fetched = worker.fetch(QUEUES, 9)
    assert sorted(item.queue for item in fetched.items) == sorted(QUEUES * 3)
    assert not fetched.complete
    place.put(b"only", queue="b")
    rest = worker.fetch(QUEUES, 100)
    assert rest.complete
    assert len(rest.items) == 23
    assert rest.items[-1].raw == b"late"
    assert rest.items[-1].tag.endswith(":3")
    assert worker.fetch(("b", "a"), 5, fair=False).items == []
    place.put(b"1", b"2", queue="a")
    place.put(b"3", b"4", queue="b")
    assert [item.raw for item in worker.fetch(("b", "a"), 3, fair=False).items] == [b"3", b"4", b"1"]
    worker.close()


def test_records_are_kombus_and_come_back_where_they_were(place: Place) -> None:
    queue = QUEUES[2]
    raw = json.dumps({"body": "e30=", "numbers": [12345678901234567890, []], "properties": {}}).encode()
    place.put(raw, queue=queue, priority=3)
    worker = Worker(place.client, place.transport_keys)
    (item,) = worker.fetch(QUEUES, 5).items
    record: Any = place.client.hget(place.keys.unacked, item.tag)
    assert record == b"[" + raw + b',"",' + json.dumps(queue, ensure_ascii=False).encode() + b"]"
    assert json.loads(record) == [json.loads(raw), "", queue]
    place.scripts.put_back([item.tag], "unread")
    assert place.items(queue, 3) == [raw]
    (item,) = worker.fetch(QUEUES, 5).items
    place.scripts.put_back([item.tag], "returned")
    assert place.items(queue, 3) == [b'{"routemq":[1,0],' + raw[1:]]
    (item,) = worker.fetch(QUEUES, 5).items
    # The second time it waits, in the delayed set of its own list.
    place.scripts.put_back([item.tag], "returned")
    waiting: Any = place.client.zrange(place.transport_keys.delayed(place.list_name(queue, 3)), 0, -1)
    assert waiting == [b'{"routemq":[2,0],' + raw[1:]]
    assert worker.fetch(QUEUES, 5).next_due_s == pytest.approx(1, abs=0.5)
    worker.close()


def test_a_lost_lease_is_a_strike_for_what_was_running_and_two_strikes_run_alone(place: Place) -> None:
    place.put(b'{"n":1}', b'{"n":2}', b"3")
    worker = Worker(place.client, place.transport_keys)
    first, *_ = worker.fetch(("a",), 5).items
    assert place.scripts.renew([first.tag, "routemq:x:1"], running=True) == ["routemq:x:1"]
    place.expire_leases(200)
    assert place.scripts.restore_lost(LEASE) == (3, [])
    assert sorted(place.items()) == [b"3", b'{"routemq":[1,0],"n":2}', b'{"routemq":[1,1],"n":1}']
    place.client.delete(place.keys.prefix + "a")
    place.put(b"before", b'{"routemq":[2,2],"n":1}', b"after")
    (before,) = worker.fetch(("a",), 5, held=0).items
    assert before.raw == b"before"
    fetched = worker.fetch(("a",), 5, held=1)
    assert (fetched.items, fetched.alone_waits) == ([], True)
    (alone,) = worker.fetch(("a",), 5, held=0).items
    assert alone.raw == b'{"routemq":[2,2],"n":1}'
    assert place.items() == [b"after"]
    worker.close()


def test_a_fetch_marks_what_it_takes_as_started_except_what_came_back(place: Place) -> None:
    place.put(b'{"n":1}', b'{"routemq":[1,0],"n":2}', b'{"n":3}')
    worker = Worker(place.client, place.transport_keys)
    fetched = worker.fetch(("a",), 5, mark=True)
    assert [item.came_back for item in fetched.items] == [False, True, False]
    marked = {item.tag.encode() for item in fetched.items if not item.came_back}
    assert set(place.client.zrange(place.transport_keys.started, 0, -1)) == marked
    place.scripts.put_back([item.tag for item in fetched.items], "unread")
    assert not place.client.exists(place.transport_keys.started)
    worker.close()


def test_what_a_dead_worker_left_under_a_clock_that_was_ahead_comes_back(place: Place) -> None:
    place.put(b"x")
    worker = Worker(place.client, place.transport_keys)
    worker.fetch(("a",), 1)
    place.expire_leases(-3600)
    assert place.scripts.restore_lost(LEASE) == (0, [])
    place.expire_leases(101)
    assert place.scripts.restore_lost(LEASE) == (1, [])
    worker.close()


def test_leases_of_other_transports_are_told_apart_however_many_there_are(place: Place) -> None:
    now = float(place.client.time()[0])  # type: ignore[index]
    place.client.zadd(place.keys.unacked_index, {f"stock{number}": now - 500 for number in range(300)})
    place.client.hset(place.keys.unacked, mapping={f"stock{number}": b"[{}, '', 'a']" for number in range(300)})
    place.put(b"x")
    worker = Worker(place.client, place.transport_keys)
    worker.fetch(("a",), 1)
    place.expire_leases(110)
    assert place.scripts.restore_lost(LEASE) == (1, [])
    place.expire_leases(1000)
    count, others = place.scripts.restore_lost(LEASE)
    assert (count, len(others)) == (0, 300)
    worker.close()


class OneStore(RuleBasedStateMachine):
    """Two workers, three queues, every script; the model knows where each message must be."""

    server: Redis

    @initialize()
    def begin(self) -> None:
        self.client = self.server.client()
        self.place = Place(self.client)
        self.workers = [Worker(self.client, self.place.transport_keys) for _ in range(2)]
        self.put_ids: set[str] = set()
        self.done: set[str] = set()
        self.counted = 0
        self.dead: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "client"):
            for worker in self.workers:
                worker.close()
            for key in self.client.scan_iter(self.place.keys.prefix + "*"):
                self.client.delete(key)
            self.client.close()

    @rule(queue=st.sampled_from(QUEUES), priority=st.sampled_from(PRIORITIES), count=st.integers(1, 5))
    def put(self, queue: str, priority: int, count: int) -> None:
        messages = [
            TaskMessage(route="r", queue=queue, envelope=Envelope(topic="t", payload=b"[]")) for _ in range(count)
        ]
        self.place.put(*[message.encode() for message in messages], queue=queue, priority=priority)
        self.put_ids.update(message.id for message in messages)

    @rule(who=st.integers(0, 1), most=st.integers(1, 8), fair=st.booleans(), mark=st.booleans())
    def fetch(self, who: int, most: int, fair: bool, mark: bool) -> None:
        fetched = self.workers[who].fetch(QUEUES, most, fair=fair, mark=mark)
        assert len(fetched.items) <= most

    def _some(self, data: st.DataObject, who: int) -> Item | None:
        held = self.workers[who].held
        return held[data.draw(st.sampled_from(sorted(held)))] if held else None

    @rule(data=st.data(), who=st.integers(0, 1))
    def acknowledge(self, data: st.DataObject, who: int) -> None:
        item = self._some(data, who)
        if item is not None:
            del self.workers[who].held[item.tag]
            route = data.draw(st.sampled_from(["r", None]))
            if self.client.hexists(self.place.keys.unacked, item.tag):
                self.done.add(TaskMessage.decode(item.raw).id)
                self.counted += route is not None
            self.place.scripts.acknowledge({route: [item.tag]})

    @rule(data=st.data(), who=st.integers(0, 1), delay_s=st.sampled_from([0.0, 100.0]))
    def retry(self, data: st.DataObject, who: int, delay_s: float) -> None:
        item = self._some(data, who)
        if item is not None:
            del self.workers[who].held[item.tag]
            self.place.delayed.retry_later(TaskMessage.decode(item.raw), delivery_tag=item.tag, delay_s=delay_s)

    @rule(data=st.data(), who=st.integers(0, 1))
    def bury(self, data: st.DataObject, who: int) -> None:
        item = self._some(data, who)
        if item is not None:
            del self.workers[who].held[item.tag]
            message = TaskMessage.decode(item.raw)
            letter = DeadLetter.of(message, reason="failed", error=ValueError("no"), worker="w")
            if self.place.letters.bury(letter, delivery_tag=item.tag):
                self.dead.add(message.id)

    @rule(data=st.data(), who=st.integers(0, 1), how=st.sampled_from(["unread", "returned"]))
    def put_back(self, data: st.DataObject, who: int, how: Any) -> None:
        item = self._some(data, who)
        if item is not None:
            del self.workers[who].held[item.tag]
            self.place.scripts.put_back([item.tag], how)

    @rule(who=st.integers(0, 1), running=st.booleans())
    def renew(self, who: int, running: bool) -> None:
        held = self.workers[who].held
        lost = self.place.scripts.renew(list(held), running=running)
        assert set(lost) == {tag for tag in held if not self.client.hexists(self.place.keys.unacked, tag)}

    @rule(seconds=st.sampled_from([50, 150, 3600, -3600]))
    def clock_jumps_and_leases_run_out(self, seconds: int) -> None:
        self.place.expire_leases(seconds)
        self.place.scripts.restore_lost(LEASE)

    @rule()
    def script_flush(self) -> None:
        # The fetcher is told by the next reply; the others load their scripts themselves.
        for worker in self.workers:
            worker._fetcher._sha = None
        self.client.script_flush()

    @precondition(lambda self: self.dead)
    @rule()
    def nothing_else_is_dead(self) -> None:
        assert {letter.task_id for letter in self.place.letters.letters()} == self.dead

    @invariant()
    def what_is_done_is_counted_once(self) -> None:
        if hasattr(self, "client"):
            assert read_totals(self.client, self.place.keys).get("r", RouteTotals()).done == self.counted

    @invariant()
    def each_message_is_in_exactly_one_place(self) -> None:
        if not hasattr(self, "client"):
            return
        keys, places = self.place.keys, []
        for queue in QUEUES:
            for priority in PRIORITIES:
                name = self.place.list_name(queue, priority)
                places += self.client.lrange(keys.prefix + name, 0, -1)
                places += self.client.zrange(self.place.transport_keys.delayed(name), 0, -1)
        records: Any = self.client.hgetall(keys.unacked)
        index: Any = self.client.zrange(keys.unacked_index, 0, -1)
        assert set(records) == set(index)
        places += [json.dumps(json.loads(record)[0]).encode() for record in records.values()]
        there = [TaskMessage.decode(place).id for place in places]
        assert len(there) == len(set(there))
        assert set(there) | self.done | self.dead == self.put_ids
        assert not set(there) & (self.done | self.dead)


def test_every_order_of_scripts_keeps_each_message_in_one_place(redis_server: Redis) -> None:
    machine = type("OneStoreHere", (OneStore,), {"server": redis_server})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
