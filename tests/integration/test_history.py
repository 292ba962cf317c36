"""What is kept of each route's past: it adds up with the totals, whoever is killed, and stays small."""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from routemq import Router
from routemq.connections import connect_redis
from routemq.lifecycle.moves import Moves
from routemq.metrics.histogram import BOUNDS_S
from routemq.metrics.history import History, Slot, add_counts, add_times, read_history
from routemq.metrics.history_grain import COUNTS, Span
from routemq.metrics.history_keeper import HistoryKeeper
from routemq.metrics.history_room import MOST_ROUTES
from routemq.metrics.timings import Timings
from routemq.metrics.totals import RouteTotals, add_totals
from routemq.settings import Settings
from tests.ingest import CONTROLLER, ingesting, settings_for
from tests.lifecycle import limited_user
from tests.processes import PATIENCE_S, clean_environment, wait_until
from tests.servers import REPOSITORY, Redis, Stack
from tests.workers import Bench

ACT, UNLUCKY = "act/{kind}", "unlucky"
SPANS: tuple[Span, ...] = ("day", "month")
BUCKETS = len(BOUNDS_S) + 1
HOSTILE = "a:minutes:1:b\n*{x}\x1b[2J' ü"


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.fixture
def store(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def now(store: redis.Redis) -> float:
    return float(store.time()[0])


def enqueue(bench: Bench, **kinds: int) -> None:
    """Queue messages as ingest does: they are counted in the same step."""
    messages = [
        bench.message(f"act/{kind}", received_at=time.time()) for kind, count in kinds.items() for _ in range(count)
    ]
    with bench.store.client() as client:
        Moves(client, bench.keys).enqueue(
            {"work.act": [each.encode() for each in messages]},
            received={ACT: len(messages)},
            sender="test",
            number=str(time.time()),
        )


def sums(found: History) -> dict[str, int]:
    return {name: sum(slot.counts[name] for slot in found.slots if slot.counts is not None) for name in COUNTS}


def connect(bench: Bench) -> redis.Redis:
    return connect_redis(Settings(_env_file=None, redis_url=bench.store.url))  # type: ignore[call-arg]


def history(bench: Bench, route: str, span: Span) -> History:
    with connect(bench) as client:
        return read_history(client, bench.keys, route, span=span)


def counted(bench: Bench, route: str) -> dict[str, int]:
    totals = bench.totals().get(route, RouteTotals())
    return {name: getattr(totals, name) for name in COUNTS}


def slot_at(found: History, at: float) -> Slot:
    (slot,) = [slot for slot in found.slots if slot.at <= at < slot.at + found.step_s]
    return slot


def test_it_adds_up_with_the_totals_also_over_a_killed_worker(bench: Bench) -> None:
    with (
        bench.worker("-Q", "work.act", "-P", "threads", "-c", "2", "-n", "one@here") as worker,
        bench.store.client() as client,
    ):
        wait_until(lambda: client.exists(bench.keys.history_looks), message="somebody has looked")
        enqueue(bench, fine=10, value=3, reject=2)
        wait_until(lambda: counted(bench, ACT)["done"] + counted(bench, ACT)["dead"] == 15, message="all have ended")
        worker.kill_all()
    with bench.worker("-Q", "work.act", "-P", "threads", "-c", "2", "-n", "two@here"):
        enqueue(bench, fine=5)
        wait_until(lambda: counted(bench, ACT)["done"] == 15, message="those too")
        for span in SPANS:
            wait_until(
                lambda span=span: sums(history(bench, ACT, span)) == counted(bench, ACT), message=f"the {span} adds up"
            )
    assert counted(bench, ACT) == {"received": 20, "replayed": 0, "done": 15, "retried": 6, "dead": 5}
    for span in SPANS:
        slots = history(bench, ACT, span).slots
        # What the killed one had not written is missing; the other one has written when it ended.
        assert 5 <= sum(sum(slot.run) for slot in slots) <= 15 + 6 + 5
        assert 5 <= sum(sum(slot.wait) for slot in slots) <= 20


def test_a_worker_that_ends_in_peace_tells_of_its_last_run_too(bench: Bench) -> None:
    with (
        bench.worker("-Q", "slow", "-P", "threads", "-c", "1", "-n", "one@here") as worker,
        bench.store.client() as client,
    ):
        wait_until(lambda: client.exists(bench.keys.history_looks), message="somebody has looked")
        bench.put("slow/sleep", "2", received_at=time.time())
        bench.wait_for_notes("started", 1)
        worker.terminate()
    slots = history(bench, "slow/sleep", "day").slots
    assert [sum(slot.run) for slot in slots if any(slot.run)] == [1]


def test_nobody_looked_is_no_zero_and_what_was_counted_meanwhile_comes_with_the_next_look(
    bench: Bench, store: redis.Redis, now: float
) -> None:
    add_totals(store, bench.keys, "received", {HOSTILE: 500})
    add_counts(store, bench.keys, at=now - 3 * 3600)
    add_totals(store, bench.keys, "received", {HOSTILE: 7, "new": 2})
    add_counts(store, bench.keys, at=now - 7200)
    add_counts(store, bench.keys, at=now - 7199)  # too soon: it looks at nothing
    add_totals(store, bench.keys, "done", {HOSTILE: 4})
    add_counts(store, bench.keys, at=now - 600)
    store.hset(bench.keys.counters(HOSTILE), "done", 3)  # it began again
    add_counts(store, bench.keys, at=now - 540)
    found = history(bench, HOSTILE, "day")
    assert (found.step_s, len(found.slots), found.slots[-1].at // 60 - found.slots[0].at // 60) == (60, 1440, 1439)
    known = {slot.at: slot.counts for slot in found.slots if slot.counts is not None}
    assert len(known) == 4
    assert {name: known[int(now - 7200) // 60 * 60][name] for name in COUNTS} == dict.fromkeys(COUNTS, 0) | {
        "received": 7
    }
    # There before anybody looked: at what time, nobody knows.
    assert sum(slot_at(found, now - 3 * 3600).counts.values()) == 0  # type: ignore[union-attr]
    assert (known[int(now - 600) // 60 * 60]["done"], known[int(now - 540) // 60 * 60]["done"]) == (4, 3)
    assert sums(history(bench, "new", "day"))["received"] == 2
    assert sums(history(bench, HOSTILE, "month"))["received"] == 7
    hours = read_history(store, bench.keys, HOSTILE, span="day", step_s=3600)
    assert (len(hours.slots), sums(hours)) == (24, sums(found))
    assert history(bench, "never was", "day").slots[0].counts is None


def test_many_who_look_at_once_count_nothing_twice(bench: Bench, store: redis.Redis, now: float) -> None:
    add_counts(store, bench.keys, at=now - 3600)
    clients = [bench.store.client() for _ in range(8)]
    together = threading.Barrier(len(clients))

    def look(number: int) -> None:
        for turn in range(10):
            add_totals(clients[number], bench.keys, "done", {"a": 100})
            together.wait(PATIENCE_S)
            # Far enough apart that none of them takes it for looked at just now.
            add_counts(clients[number], bench.keys, at=now - 60 * (10 * turn + number))
            together.wait(PATIENCE_S)

    with ThreadPoolExecutor(len(clients)) as threads:
        list(threads.map(look, range(len(clients))))
    for client in clients:
        client.close()
    assert sums(history(bench, "a", "day"))["done"] == 8000


def test_a_clock_that_was_put_back_stops_nobody(bench: Bench, store: redis.Redis, now: float) -> None:
    add_counts(store, bench.keys, at=now + 86_400 * 400)
    ahead = store.hget(bench.keys.history_looks, "at")
    for damaged in (ahead, b"nan", b"inf", b"soon"):
        store.hset(bench.keys.history_looks, "at", damaged or b"")
        add_totals(store, bench.keys, "done", {"a": 1})
        add_counts(store, bench.keys, at=now)
        assert sums(history(bench, "a", "day")) == counted(bench, "a")
    # Of what another release has remembered nothing is known: it is where counting begins.
    store.hset(bench.keys.history_looks, mapping={"route:a": b"[1,2]", "at": b"0"})
    add_counts(store, bench.keys, at=now)
    assert sums(history(bench, "a", "day"))["done"] == 4


def test_counts_stop_at_their_largest_and_quantiles_are_those_of_the_metrics(
    bench: Bench, store: redis.Redis, now: float
) -> None:
    many = [0] * (BUCKETS - 1) + [5_000_000_000]
    add_times(store, bench.keys, {"a": ([1] * BUCKETS, many)}, at=now)
    (slot,) = [slot for slot in history(bench, "a", "day").slots if any(slot.run)]
    assert (list(slot.run), slot.wait[-1], sum(slot.wait[:-1])) == ([1] * BUCKETS, 2**32 - 1, 0)


def test_memory_is_bounded_for_many_routes_that_come_and_go(bench: Bench, store: redis.Redis, now: float) -> None:
    routes = [f"plant/{number}/{{device_id}}/data" for number in range(100)]
    times = {route: ([1] * BUCKETS, [1] * BUCKETS) for route in routes}
    for hours in range(25):
        add_times(store, bench.keys, times, at=now - 3600 * hours)
    for days in range(2, 32):
        add_times(store, bench.keys, {route: ([1], []) for route in routes}, at=now - 86_400 * days)
    for route in routes:
        # By then these have expired.
        store.delete(*(bench.keys.history("minutes", int(now // 3600) - 24 * days, route) for days in range(2, 32)))
    names = list(store.scan_iter(f"{bench.keys.prefix}routemq:history:*", count=10_000))

    def sizes() -> list[int]:
        with store.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.memory_usage(name)
            return [int(size or 0) for size in pipe.execute()]

    before = sum(sizes())
    of_a_route = before / len(routes)
    assert of_a_route < 410_000, of_a_route
    for minutes in range(60):
        add_times(store, bench.keys, times, at=now - 60 * minutes)
    assert sum(sizes()) == before, "a key has its whole length from the first"
    with store.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.ttl(name)
        kept = dict(zip(names, pipe.execute(), strict=True))
    assert all(0 < kept_s <= (90_000 if b":minutes:" in name else 32 * 86_400) for name, kept_s in kept.items())


def test_only_so_many_routes_have_a_history_and_the_others_are_told(
    bench: Bench, store: redis.Redis, now: float, caplog: pytest.LogCaptureFixture
) -> None:
    keys, run = bench.keys, ([1], [1])
    add_times(store, keys, {"idle": run, "busy": run}, at=now - 90_000)
    add_times(store, keys, {f"route {number}": run for number in range(MOST_ROUTES - 2)}, at=now)
    assert store.zcard(keys.history_routes) == MOST_ROUTES
    # What comes with it does not lose its place to another, and one that did nothing for a day does.
    add_times(store, keys, {"new": run, "busy": run}, at=now)
    assert sorted({name.rpartition(b":")[2] for name in store.scan_iter(f"{keys.prefix}routemq:history:hours:*")})[
        :2
    ] == [b"busy", b"new"]
    assert not list(store.scan_iter(f"{keys.prefix}*:idle"))

    keeper = HistoryKeeper(connect(bench), keys)
    keeper.write()
    for _ in range(2):
        add_totals(store, keys, "done", {UNLUCKY: 1, ACT: 1, "new": 1})
        store.hset(keys.history_looks, "at", 0)
        keeper.write()
    (told,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert told.startswith(f"no history is kept of {ACT}, {UNLUCKY}: it is kept of 250 routes")
    assert not list(store.scan_iter(f"{keys.prefix}routemq:history:*:{UNLUCKY}"))
    assert sums(history(bench, "new", "day"))["done"] == 2
    assert history(bench, UNLUCKY, "day").is_left_out
    assert not history(bench, "new", "day").is_left_out

    command = ["routemq", "history", UNLUCKY]
    shown = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=clean_environment(bench.environment()),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert f"no history is kept of {UNLUCKY}" in shown.stderr

    # With room, it begins with what is new, whatever had the place.
    store.zrem(keys.history_routes, "route 1")
    store.zadd(keys.history_routes, {b"\xff": now - 90_000})
    add_totals(store, keys, "done", {UNLUCKY: 1})
    store.hset(keys.history_looks, "at", 0)
    keeper.write()
    assert sums(history(bench, UNLUCKY, "day"))["done"] == 1
    assert store.zcard(keys.history_routes) == MOST_ROUTES


def test_another_programs_key_is_told_and_costs_only_its_own_route(
    bench: Bench, store: redis.Redis, now: float, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = HistoryKeeper(connect(bench), bench.keys)
    keeper.write()
    taken = bench.keys.history("minutes", int(now // 3600), "a")
    for key in (
        taken,
        bench.keys.history("minutes", int(now // 3600) + 1, "a"),
        bench.keys.history_looked(int(now // 86_400)),
    ):
        store.delete(key)
        store.lpush(key, "another program's")
    add_totals(store, bench.keys, "done", {"a": 1, "b": 1, "c": 1})
    store.hset(bench.keys.counters("c"), "done", 10**25)
    store.hset(bench.keys.history_looks, "at", 0)
    keeper.write()
    told = [record.message for record in caplog.records]
    assert any(taken in each and "Mend" in each for each in told), told
    assert sums(history(bench, "b", "day"))["done"] == 1
    assert sums(history(bench, "a", "month"))["done"] == 1
    assert sums(history(bench, "a", "day"))["done"] == 0


@pytest.mark.parametrize("command", ["bitfield", "watch", "time", "hset", "smembers"])
def test_what_is_refused_is_told_once_and_missed_only_here(
    bench: Bench, store: redis.Redis, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="routemq.metrics.history_keeper")
    timings = Timings()
    with limited_user(store) as user:
        keeper = HistoryKeeper(user.client(), bench.keys, timings)
        keeper._try()
        user.forbid(command)
        for _ in range(3):
            timings.ended("a", took_s=0.01, received_at=None, is_first=True, is_done=True)
            add_totals(store, bench.keys, "done", {"a": 1})
            store.hset(bench.keys.history_looks, "at", 0)
            keeper._try()
        assert len(caplog.records) == 1, caplog.text
        assert "the history of routes is not kept" in caplog.text
        user.permit()
        store.hset(bench.keys.history_looks, "at", 0)
        keeper._try()
    assert sums(history(bench, "a", "day"))["done"] == 3


def test_a_terminal_shows_it_in_eighty_columns(bench: Bench, store: redis.Redis, now: float) -> None:
    add_counts(store, bench.keys, at=now - 7200)
    totals = {"received": 1_234_567, "replayed": 1, "done": 1_200_000, "retried": 23_456, "dead": 34_567}
    for name in COUNTS:
        add_totals(store, bench.keys, name, {ACT: totals[name]})
    add_counts(store, bench.keys, at=now - 3600)
    add_times(store, bench.keys, {ACT: ([0, 9, 1], [0] * 8 + [1])}, at=now - 3600)

    def shown(*options: str, code: int = 0) -> str:
        run = subprocess.run(
            ["routemq", "history", *options], cwd=REPOSITORY, env=clean_environment(bench.environment()),
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert run.returncode == code, run.stderr
        return run.stdout + run.stderr

    lines = shown(ACT).splitlines()
    assert len(lines) == 26
    assert max(map(len, lines)) <= 80
    assert lines[-1].split()[:6] == ["in", "all", "1,234,568", "1,200,000", "23,456", "34,567"]
    assert len(shown(ACT, "--month").splitlines()) == 33
    found = json.loads(shown(ACT, "--json"))
    assert (found["step_s"], len(found["done"]), found["sums"]["dead"]) == (60, 1440, 34_567)
    assert ACT in shown("act", code=1)


def test_ingest_keeps_it_while_there_is_no_worker(
    stack: Stack, key_prefix: str, group_name: str, topic_prefix: str
) -> None:
    bench = Bench(store=stack.store, key_prefix=key_prefix, router=Router())
    bench.router.on(f"{topic_prefix}/{{d}}", CONTROLLER, queue="q")
    with (
        ingesting(settings_for(stack, key_prefix=key_prefix, group=group_name), bench.router),
        stack.store.client() as client,
    ):
        wait_until(lambda: client.exists(bench.keys.history_looks), message="it has looked")
        for _ in range(3):
            stack.broker.publish(f"{topic_prefix}/d1", "1")
        name = bench.router.routes[0].name
        wait_until(lambda: sums(history(bench, name, "day"))["received"] == 3, message="they are in the history")
