"""Whose leases are looked at, and when they are taken for lost."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from routemq_transport.holding.clock import SteadyClock
from routemq_transport.holding.lease import Lease
from routemq_transport.items import Item

from routemq.lifecycle.moves import LeaseTimes
from tests.lifecycle import Place, Worker
from tests.processes import PATIENCE_S, no_more_threads, wait_until
from tests.servers import Redis

TIMES = LeaseTimes(own_s=3, others_s=30)


@pytest.fixture
def place(redis_server: Redis) -> Iterator[Place]:
    with redis_server.client() as client:
        yield Place(client)


class Process:
    """A worker's lease, beside a clock that can be put ahead or back."""

    def __init__(self, server: Redis, place: Place) -> None:
        self.behind_s = 0.0
        self._client = server.client()
        self.others: list[str] = []
        self.clock = SteadyClock(
            lease_s=TIMES.own_s, renewed_every_s=0.3, monotonic=lambda: time.monotonic() - self.behind_s
        )
        self.lease = Lease(
            self._client,
            Place(self._client, prefix=place.keys.prefix).moves,
            place.keys,
            TIMES,
            running=list,
            restore_other=self._restore_other,
            clock=self.clock,
        )

    def _restore_other(self, tag: str) -> None:
        self.others.append(tag)

    def close(self) -> None:
        self.lease.put_back(list(self.lease._held), "unread")
        self.lease.end()
        if self.lease._thread is not None:
            self.lease._thread.join(PATIENCE_S)
        self._client.close()


@contextmanager
def process(server: Redis, place: Place) -> Iterator[Process]:
    made = Process(server, place)
    try:
        yield made
    finally:
        made.close()


def fetched(place: Place, *items: bytes, queue: str = "a") -> list[Item]:
    place.put(*items, queue=queue)
    worker = Worker(place.client, place.keys)
    found = worker.fetch((queue,), len(items), mark=True).items
    worker.close()
    return found


def test_a_jump_of_redis_clock_takes_nothing_from_who_is_alive(redis_server: Redis, place: Place) -> None:
    with process(redis_server, place) as alive, process(redis_server, place) as sweeper:
        (item,) = fetched(place, b'{"n":1}')
        alive.lease.hold([item])
        sweeper.lease.start()
        wait_until(lambda: sweeper.clock.believed_in_s == 0, message="the clock is believed")
        # An hour later by Redis' clock: of the leases, and of what this machine's says.
        for each in (alive, sweeper):
            each.behind_s = 3600
        place.expire_leases(3600)
        wait_until(lambda: sweeper.clock.believed_in_s > 0, message="the jump is noticed")
        wait_until(lambda: sweeper.clock.believed_in_s == 0, message="the clock is believed again")
        dead = fetched(place, b'{"n":2}')
        place.client.zadd(place.keys.unacked_index, {dead[0].tag: 1.0})
        wait_until(lambda: bool(place.items()), message="what was really lost is back")
        assert place.items() == [b'{"routemq":[1,1],"n":2}']
        assert place.client.hkeys(place.keys.unacked) == [item.tag.encode()]


def test_a_worker_that_has_just_started_waits_until_all_others_have_renewed(redis_server: Redis, place: Place) -> None:
    (item,) = fetched(place, b'{"n":1}')
    place.expire_leases(60)
    started = time.monotonic()
    with process(redis_server, place) as sweeper:
        # As a lost connection, after which there is another lease: this one would never be renewed.
        with no_more_threads(), pytest.raises(redis.ConnectionError, match="thread"):
            sweeper.lease.start()
        sweeper.lease.start()
        wait_until(lambda: bool(place.items()), message="it came back")
        assert time.monotonic() - started >= 1
    assert not place.client.hexists(place.keys.unacked, item.tag)


def test_older_entries_of_other_transports_hide_nothing(place: Place) -> None:
    now = float(place.client.time()[0])  # type: ignore[index]
    theirs = [f"stock{number}" for number in range(3000)]
    place.client.zadd(place.keys.unacked_index, dict.fromkeys(theirs[:1500], now - 500))
    place.client.zadd(place.keys.unacked_index, {tag: now - 400 + n / 100 for n, tag in enumerate(theirs[1500:])})
    place.client.hset(place.keys.unacked, mapping=dict.fromkeys(theirs, b"[{}, '', 'a']"))
    fetched(place, *(b"%d" % number for number in range(50)))
    place.client.zadd(
        place.keys.unacked_index,
        {tag: now - 150 for tag in place.client.zrange(place.keys.unacked_index, 0, -1) if tag.startswith(b"routemq:")},  # type: ignore[union-attr]
    )
    assert place.restore_lost() == (50, [])
    place.expire_leases(800)
    count, others = place.restore_lost()
    assert (count, set(others)) == (0, set(theirs))
    assert len(others) == len(theirs)


def test_a_list_that_is_another_applications_ends_no_sweep(
    redis_server: Redis, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    fetched(place, *(b"%d" % number for number in range(1200)), queue="b")
    fetched(place, b"x", b"y")
    place.expire_leases(200)
    place.put_in_the_way(place.keys.queue("b"), "string")
    assert place.restore_lost() == (2, [])
    assert repr(place.keys.queue("b")) in caplog.text
    place.mend(place.keys.queue("b"))
    assert place.restore_lost() == (1200, [])


def test_a_list_that_is_another_applications_ends_no_restoring_of_others(redis_server: Redis, place: Place) -> None:
    for number, queue in enumerate(("b", "a")):
        tag, record = f"stock{number}", json.dumps([{"n": number}, "", queue])
        place.client.hset(place.keys.unacked, tag, record)
        place.client.zadd(place.keys.unacked_index, {tag: number + 1.0})
    place.put_in_the_way(place.keys.queue("b"), "string")

    class Routing(Process):
        def _restore_other(self, tag: str) -> None:
            super()._restore_other(tag)
            record = place.client.hget(place.keys.unacked, tag)
            assert isinstance(record, bytes)
            item, _, queue = json.loads(record)
            place.moves.requeue(json.dumps(item), tag=tag, record=record, lists=[queue])

    routing = Routing(redis_server, place)
    routing.lease.start()
    wait_until(lambda: bool(place.items()), message="the other one is back")
    routing.close()
    with pytest.raises(redis.ResponseError):
        place.client.lrange(place.keys.queue("b"), 0, -1)
