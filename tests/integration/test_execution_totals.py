"""The totals of a route add up, whoever is killed."""

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery

from routemq.metrics.totals import RouteTotals
from tests.processes import wait_until
from tests.servers import Redis
from tests.workers import Bench

_ROUTES = ("raw/{rest:path}", "act/{kind}")
_QUEUES = ("work.raw", "work.act")


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where the messages are, at one moment."""

    done: int
    dead: int
    left: int

    @classmethod
    def of(cls, bench: Bench) -> "Account":
        with bench.store.client() as client, client.pipeline(transaction=True) as pipe:
            for total in ("done", "dead"):
                for route in _ROUTES:
                    pipe.hget(bench.keys.counters(route), total)
            pipe.hlen(bench.keys.unacked)
            for queue in _QUEUES:
                pipe.llen(bench.keys.queue(queue))
                pipe.zcard(bench.keys.delayed(queue))
            found = [int(each or 0) for each in pipe.execute()]
        return cls(done=sum(found[:2]), dead=sum(found[2:4]), left=sum(found[4:]))

    @property
    def sent(self) -> int:
        return self.done + self.dead + self.left


def _put(bench: Bench, count: int) -> int:
    """Queue messages of two routes; every tenth is rejected by its controller."""
    kinds = ("act/reject", "raw/x", *("act/fine", "raw/x") * 4)
    return len(bench.put_many([kinds[number % 10] for number in range(count)], "x"))


def _let_leases_run_out(bench: Bench) -> None:
    with bench.store.client() as client:
        for tag in client.hkeys(bench.keys.unacked):
            client.zadd(bench.keys.unacked_index, {tag: 1.0})


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_totals_are_exact_though_workers_are_killed_under_load(bench: Bench, pool: str) -> None:
    chance = random.Random(pool)
    arguments, env = ("-Q", "work.raw,work.act", "-P", pool, "-c", "2"), {"ROUTEMQ_VISIBILITY_TIMEOUT_S": "10"}
    sent = left = 0
    for _ in range(3):
        sent += _put(bench, 300)
        with bench.worker(*arguments, env=env) as doomed:
            goal = Account.of(bench).done + chance.randint(5, 60)
            wait_until(lambda goal=goal: Account.of(bench).done >= goal, message="some are done")  # type: ignore[misc]
            doomed.kill_all()
        account = Account.of(bench)
        assert account.sent == sent
        left += account.left
        _let_leases_run_out(bench)
    with bench.worker(*arguments, env=env) as worker:
        wait_until(lambda: not Account.of(bench).left, message="nothing is left")
        assert worker.terminate() == 0
    assert left
    dead = len(bench.letters())
    assert dead >= sent // 10
    assert Account.of(bench) == Account(done=sent - dead, dead=dead, left=0)


def test_what_an_operator_revoked_or_came_too_late_is_not_done(bench: Bench) -> None:
    operator = Celery(broker=bench.store.url, set_as_current=False)
    operator.conf.broker_transport_options = {"global_keyprefix": bench.key_prefix}
    with bench.worker("-Q", "slow", "-P", "threads"):
        assert operator.control.revoke("revoked", reply=True, limit=1, timeout=60)
        bench.put("slow/sleep", "0", id="revoked")
        _put_with(bench, id="too-late", expires="2020-01-01T00:00:00+00:00")
        due = datetime.now(UTC) + timedelta(seconds=1)
        _put_with(bench, id="not-yet", eta=due.isoformat())
        run = bench.put("slow/sleep", "0")
        slept = {note["id"]: note for note in bench.wait_for_notes("slept", 2)}
        wait_until(lambda: not bench.held(), message="nothing is held")
    operator.close()
    assert set(slept) == {run.id, "not-yet"}
    assert slept["not-yet"]["at"] >= due.timestamp()
    assert bench.totals() == {"slow/sleep": RouteTotals(done=2)}


def _put_with(bench: Bench, **headers: str) -> None:
    message = bench.message("slow/sleep", "0")
    item = json.loads(message.encode())
    item["headers"] |= headers
    bench.put_raw(message.queue, json.dumps(item).encode())
