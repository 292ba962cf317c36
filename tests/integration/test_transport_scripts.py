"""The transport's scripts, one by one."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from routemq.dead_letters import DeadLetter
from routemq.metrics.totals import read_totals
from tests.lifecycle import PRIORITIES, QUEUES, Place, Worker
from tests.servers import Redis


@pytest.fixture
def place(redis_store: Redis) -> Iterator[Place]:
    with redis_store.client() as client:
        yield Place(client)


def test_what_is_done_is_counted_by_route_if_it_was_held(place: Place) -> None:
    place.put(*[b"%d" % number for number in range(2600)])
    worker = Worker(place.client, place.keys)
    while worker.fetch(("a",), 100).items:
        pass
    tags = list(worker.held)
    # More than one part, as after Redis was away.
    place.moves.acknowledge({None: tags[:50], "one": tags[50:2550], "two": tags[2550:2570]})
    place.moves.acknowledge({"two": [*tags[2560:2580], "of nobody"], "none": tags[:5], "one": tags[2580:2590]})
    totals = read_totals(place.client, place.keys)
    assert {route: found.done for route, found in totals.items()} == {"one": 2510, "two": 30}
    assert place.client.hlen(place.keys.unacked) == place.client.zcard(place.keys.unacked_index) == 10
    worker.close()


def test_queues_take_fair_turns_and_priorities_go_first(place: Place) -> None:
    for queue in QUEUES:
        place.put(*[f"{queue}{number}".encode() for number in range(10)], queue=queue)
    place.put(b"late", queue="b", priority=3)
    worker = Worker(place.client, place.keys)
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


def test_redis_finds_what_is_held_and_what_has_started_without_reading_all_of_it(place: Place) -> None:
    worker = Worker(place.client, place.keys)
    place.put(b"1")
    # The only one: a set that begins as a list of its members stays so up to 128 of them.
    assert len(worker.fetch(("a",), 5, mark=True).items) == 1
    for key in (place.keys.unacked_index, place.keys.started):
        assert place.client.zcard(key) == 1
        assert place.client.object("ENCODING", key) == b"skiplist"
    worker.close()


def test_records_are_kombus_and_come_back_where_they_were(place: Place) -> None:
    queue = QUEUES[2]
    raw = json.dumps({"body": "e30=", "numbers": [12345678901234567890, []], "properties": {}}).encode()
    place.put(raw, queue=queue, priority=3)
    worker = Worker(place.client, place.keys)
    (item,) = worker.fetch(QUEUES, 5).items
    record: Any = place.client.hget(place.keys.unacked, item.tag)
    assert record == b"[" + raw + b',"",' + json.dumps(queue, ensure_ascii=False).encode() + b"]"
    assert json.loads(record) == [json.loads(raw), "", queue]
    place.moves.put_back([item.tag], "unread")
    assert place.items(queue, 3) == [raw]
    (item,) = worker.fetch(QUEUES, 5).items
    place.moves.put_back([item.tag], "returned")
    assert place.items(queue, 3) == [b'{"routemq":[1,0],' + raw[1:]]
    (item,) = worker.fetch(QUEUES, 5).items
    # The second time it waits, in the delayed set of its own list.
    place.moves.put_back([item.tag], "returned")
    waiting: Any = place.client.zrange(place.keys.delayed(place.list_name(queue, 3)), 0, -1)
    assert waiting == [b'{"routemq":[2,0],' + raw[1:]]
    assert not worker.fetch(QUEUES, 5).items
    assert worker.fetch(QUEUES, 5).next_due_s == pytest.approx(1, abs=0.5)
    worker.close()


def test_a_letter_keeps_the_bytes_of_its_message_whatever_its_queue_is_called(place: Place) -> None:
    queue = QUEUES[2]
    raw = b'{"numbers": [12345678901234567890, []], "text": ",\\"\\",\\"x\\"]"}'
    place.put(raw, queue=queue)
    stock_record = b"[" + raw + b', "", ' + json.dumps(queue).encode() + b"]"
    place.client.hset(place.keys.unacked, "stock", stock_record)
    worker = Worker(place.client, place.keys)
    (item,) = worker.fetch(QUEUES, 5).items
    for tag in (item.tag, "stock"):
        held = place.held(tag)
        assert held is not None
        assert (held.item, held.queue) == (raw, queue)
        letter = DeadLetter.bare(route="r", queue=queue, message_id=tag, error=ValueError("no"), worker="w")
        assert place.letters.bury(letter, delivery_tag=tag)
        assert place.letters.get(letter.id).raw == raw
    worker.close()


def test_a_lost_lease_is_a_strike_for_what_was_running_and_two_strikes_run_alone(place: Place) -> None:
    place.put(b'{"n":1}', b'{"n":2}', b"3")
    worker = Worker(place.client, place.keys)
    first, *_ = worker.fetch(("a",), 5).items
    assert place.moves.renew([first.tag, "routemq:x:1"], running=True) == ["routemq:x:1"]
    place.expire_leases(200)
    assert place.restore_lost() == (3, [])
    assert sorted(place.items()) == [b"3", b'{"routemq":[1,0],"n":2}', b'{"routemq":[1,1],"n":1}']
    place.client.delete(place.keys.prefix + "a")
    place.put(b"before", b'{"routemq":[2,2],"n":1}', b"after")
    # Beside others it is left, and they are taken.
    fetched = worker.fetch(("a",), 1, held=0)
    assert ([item.raw for item in fetched.items], fetched.alone) == ([b"before"], None)
    fetched = worker.fetch(("a",), 5, held=1)
    assert ([item.raw for item in fetched.items], fetched.alone, fetched.complete) == ([b"after"], "left", True)
    assert place.items() == [b'{"routemq":[2,2],"n":1}']
    place.put(b"later", b'{"routemq":[2,2],"n":2}', b"last")
    fetched = worker.fetch(("a",), 5, held=0)
    assert ([item.raw for item in fetched.items], fetched.alone) == ([b'{"routemq":[2,2],"n":1}'], "last")
    # Or taken beside them, when nobody else has, and nothing after it.
    fetched = worker.fetch(("a",), 5, held=1, alone="last")
    assert [item.raw for item in fetched.items] == [b"later", b'{"routemq":[2,2],"n":2}']
    assert (fetched.alone, fetched.complete) == ("last", False)
    assert place.items() == [b"last"]
    worker.close()


def test_messages_that_run_alone_keep_their_place_before_all_that_is_taken_behind_them(place: Place) -> None:
    lonely = [b'{"routemq":[2,2],"n":%d}' % number for number in range(30)]
    place.put(*lonely[:10], b"1", *lonely[10:], b"2", b"3")
    worker = Worker(place.client, place.keys)
    assert [item.raw for item in worker.fetch(("a",), 2, held=1).items] == [b"1", b"2"]
    assert place.items() == [*lonely, b"3"]
    assert [item.raw for item in worker.fetch(("a",), 2, held=1).items] == [b"3"]
    assert place.items() == lonely
    place.client.delete(place.keys.queue("a"))
    # There is an end to what is looked through.
    place.put(*lonely * 70, b"4")
    fetched = worker.fetch(("a",), 2, held=1)
    assert (fetched.items, fetched.alone) == ([], "left")
    assert place.items() == [*lonely * 70, b"4"]
    worker.close()


def test_a_fetch_takes_no_more_bytes_than_there_is_room_for(place: Place) -> None:
    sizes = [300, 300, 300, 5000, 100]
    place.put(*(b"x" * size for size in sizes))
    worker = Worker(place.client, place.keys)

    def fetch(most_bytes: int, *, held: int) -> tuple[list[int], bool, bool]:
        fetched = worker.fetch(("a",), 10, held=held, most_bytes=most_bytes)
        return [len(item.raw) for item in fetched.items], fetched.too_large, fetched.complete

    assert fetch(100, held=1) == ([], True, False)
    assert fetch(700, held=1) == ([300, 300], True, False)
    assert fetch(400, held=1) == ([300], True, False)
    assert fetch(400, held=1) == ([], True, False)
    # What is larger than all the room there is goes to whoever has nothing that waits.
    assert fetch(400, held=0) == ([5000], True, False)
    assert fetch(400, held=1) == ([100], False, True)
    worker.close()


def test_a_fetch_serves_thousands_of_queues_and_takes_turns(place: Place) -> None:
    queues = tuple(f"queue{number}" for number in range(2500))
    for number in range(0, 2500, 500):
        for priority in PRIORITIES:
            place.put(b"x", b"x", queue=queues[number], priority=priority)
    worker = Worker(place.client, place.keys)
    assert worker.fetch(queues, 1).items[0].queue == "queue0"
    assert [item.queue for item in worker.fetch(queues, 2).items] == ["queue500", "queue1000"]
    rest = worker.fetch(queues, 100)
    turns = list(dict.fromkeys(item.queue for item in rest.items))
    assert turns == ["queue1500", "queue2000", "queue0", "queue500", "queue1000"]
    assert (len(rest.items), rest.complete) == (17, True)
    assert worker.fetch(queues, 100, held=1).complete
    worker.close()


def test_what_is_soon_run_is_taken_in_turns_of_several_and_each_queue_gets_as_much(place: Place) -> None:
    queues = tuple(f"queue{number}" for number in range(7))
    for queue in queues:
        place.put(*[b"x"] * 100, queue=queue)
    place.put(b"x", queue="short")
    worker = Worker(place.client, place.keys)

    def fetch(most: int) -> list[int]:
        return list(Counter(item.queue for item in worker.fetch(("short", *queues), most, in_turn=4).items).values())

    assert fetch(9) == [1, 5, 3]
    found = [fetch(17) for _ in range(21)]
    assert {len(counts) for counts in found} == {4}
    left = [place.client.llen(place.keys.queue(queue)) for queue in queues]
    assert max(left) - min(left) <= 5
    # One turn is more than there is room for.
    assert fetch(3) == [3]
    worker.close()


def test_a_fetch_marks_what_it_takes_as_started_except_what_came_back(place: Place) -> None:
    place.put(b'{"n":1}', b'{"routemq":[1,0],"n":2}', b'{"n":3}')
    worker = Worker(place.client, place.keys)
    fetched = worker.fetch(("a",), 5, mark=True)
    assert [item.came_back for item in fetched.items] == [False, True, False]
    marked = {item.tag.encode() for item in fetched.items if not item.came_back}
    assert set(place.client.zrange(place.keys.started, 0, -1)) == marked
    place.moves.put_back([item.tag for item in fetched.items], "unread")
    assert not place.client.exists(place.keys.started)
    worker.close()


def test_what_a_dead_worker_left_under_a_clock_that_was_ahead_comes_back(place: Place) -> None:
    place.put(b"x")
    worker = Worker(place.client, place.keys)
    worker.fetch(("a",), 1)
    place.expire_leases(-3600)
    assert place.restore_lost() == (0, [])
    place.expire_leases(101)
    assert place.restore_lost() == (1, [])
    worker.close()


def test_leases_of_other_transports_are_told_apart_however_many_there_are(place: Place) -> None:
    now = float(place.client.time()[0])  # type: ignore[index]
    place.client.zadd(place.keys.unacked_index, {f"stock{number}": now - 500 for number in range(300)})
    place.client.hset(place.keys.unacked, mapping={f"stock{number}": b"[{}, '', 'a']" for number in range(300)})
    place.put(b"x")
    worker = Worker(place.client, place.keys)
    worker.fetch(("a",), 1)
    place.expire_leases(110)
    assert place.restore_lost() == (1, [])
    place.expire_leases(1000)
    count, others = place.restore_lost()
    assert (count, len(others)) == (0, 300)
    worker.close()


def test_many_messages_that_run_alone_hide_none_that_is_behind_them(place: Place) -> None:
    struck = [b'{"routemq":[2,2],"n":%d}' % number for number in range(700)]
    place.put(*struck)
    place.put(*[b'{"n":%d}' % number for number in range(10)])
    worker = Worker(place.client, place.keys)
    fetched = worker.fetch(("a",), 100, alone="left")
    assert [item.raw for item in fetched.items] == [b'{"n":%d}' % number for number in range(10)]
    assert fetched.alone == "left"
    assert sorted(place.items("a")) == sorted(struck)
    # What comes next is at the front by now.
    place.put(b'{"next":1}')
    (item,) = worker.fetch(("a",), 100, alone="left").items
    assert item.raw == b'{"next":1}'
    (alone,) = worker.fetch(("a",), 100, held=0).items
    assert alone.raw in struck
    assert len(place.items("a")) == 699
    worker.close()
