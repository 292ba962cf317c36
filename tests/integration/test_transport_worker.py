"""Real Celery workers on our transport."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from routemq_transport.fetching.pace import CADENCE_S, IDLE_S

from tests.processes import clean_environment, wait_until
from tests.servers import REPOSITORY, Redis
from tests.transport import APPLICATION, Bench

POOLS = {"prefork": ("-P", "prefork", "-c", "2"), "threads": ("-P", "threads", "-c", "3"), "solo": ("-P", "solo")}
GEVENT = ("-P", "gevent", "-c", "10")


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str, tmp_path: Path) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")


def python(bench: Bench, code: str) -> str:
    """Run code beside the application, with our transport, and return what it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=clean_environment(bench.environment()),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("pool", [*POOLS.values(), GEVENT], ids=[*POOLS, "gevent"])
def test_each_message_runs_once_in_every_pool(bench: Bench, pool: tuple[str, ...]) -> None:
    names = [f"m{number}" for number in range(400)]
    bench.put(*names[:200])
    bench.put(*names[200:], queue="second")
    with bench.worker(*pool) as worker:
        wait_until(lambda: len(bench.names()) > 50, message="the backlog is being worked off")
        with bench.client() as client:
            client.script_flush()
        bench.wait_for(names)
        bench.wait_until_nothing_is_held()
        bench.put("after the backlog")
        bench.wait_for(["after the backlog"])
        bench.wait_until_nothing_is_held()
        assert worker.terminate() == 0
    assert bench.names() == sorted([*names, "after the backlog"])


def test_an_idle_worker_starts_messages_at_once_and_asks_seldom(bench: Bench, own_store: Callable[..., Redis]) -> None:
    bench = Bench(store=own_store(), key_prefix=bench.key_prefix, runs_path=bench.runs_path)
    with bench.worker(*POOLS["threads"]), bench.client() as client:
        bench.put("warm")
        bench.wait_for(["warm"])
        for number in range(20):
            queue = "first" if number % 2 else "second"
            bench.put([number, time.time()], queue=queue)
            wait_until(lambda number=number: len(bench.runs()) == number + 2, message="it ran")
        waits_s = sorted(run.at - run.what[1] for run in bench.runs("started") if run.what != "warm")
        # A worker that nobody wakes looks for itself every IDLE_S, which would make it half of that in the median.
        assert waits_s[len(waits_s) // 2] < IDLE_S / 4
        bench.wait_until_nothing_is_held()

        def commands() -> int:
            return int(sum(entry["calls"] for entry in client.info("commandstats").values()))

        before = commands()
        started = time.monotonic()
        wait_until(lambda: time.monotonic() - started > 2, message="two seconds have passed")
        asked = commands() - before
        assert asked / (time.monotonic() - started) < 30


@pytest.mark.parametrize("pool", POOLS)
def test_a_backlog_is_fetched_in_large_parts(
    own_store: Callable[..., Redis], key_prefix: str, tmp_path: Path, pool: str
) -> None:
    bench = Bench(store=own_store(), key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")
    count, window = 6000, 32 * (1 if pool == "solo" else int(POOLS[pool][-1]))
    bench.put(*range(count), task="nothing")
    with bench.worker(*POOLS[pool], queues="first", env={"PREFETCH": "32"}), bench.client() as client:
        started = time.monotonic()
        wait_until(lambda: bench.waiting() == 0, message="the backlog is worked off")
        took_s = time.monotonic() - started
        bench.wait_until_nothing_is_held()
        fetches = client.info("commandstats")["cmdstat_ltrim"]["calls"]
    # Whenever half of the window is free, or at its cadence; not whenever a message is done.
    assert fetches < count / (window / 2) + took_s / CADENCE_S + 50


def test_messages_with_a_time_wait_in_redis(bench: Bench) -> None:
    put_later = f"""
import redis
from datetime import datetime, timedelta, timezone
from {APPLICATION} import run
run.apply_async(("connected",))
for name, priority in ("later", 0), ("urgent", 9):
    due = datetime.now(timezone.utc) + timedelta(seconds=4)
    run.apply_async(([name, due.timestamp()],), eta=due, priority=priority)
with redis.Redis.from_url({bench.store.url!r}) as client:
    waiting = client.zcard("{bench.key_prefix}routemq:delayed:first")
    while (held := client.hlen("{bench.key_prefix}unacked")) and datetime.now(timezone.utc) < due:
        pass
print(waiting, held, "early" if datetime.now(timezone.utc) < due else "late")
"""
    with bench.worker(*POOLS["threads"]):
        # Looked at before they are due, if the machine is not too slow for it.
        *found, when = python(bench, put_later).split()
        assert found == ["1", "0"] or when == "late"
        wait_until(lambda: len(bench.runs()) == 3, message="all ran")
    for run in bench.runs("started"):
        if run.what != "connected":
            assert run.at - run.what[1] >= -0.01


@pytest.mark.parametrize("pool", [POOLS["prefork"], POOLS["solo"], GEVENT], ids=["prefork", "solo", "gevent"])
def test_a_task_longer_than_the_lease_runs_once(bench: Bench, pool: tuple[str, ...]) -> None:
    # Longer than a busy machine stands still.
    with bench.worker(*pool, visibility_timeout=6), bench.worker(*POOLS["solo"], visibility_timeout=6):
        bench.put("long", seconds=8)
        bench.wait_for(["long"])
        bench.wait_until_nothing_is_held()
    assert bench.names("started") == ["long"]


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_messages_of_a_killed_worker_run_elsewhere(bench: Bench, pool: str) -> None:
    names = [f"m{number}" for number in range(8)]
    bench.put(*names, task="wait")
    with bench.worker(*POOLS[pool], visibility_timeout=3) as doomed:
        wait_until(lambda: bench.names("started"), message="one has started")
        doomed.kill_all()
    assert bench.held() > 1
    bench.release()
    with bench.worker(*POOLS["threads"], visibility_timeout=3):
        bench.wait_for(names)
        bench.wait_until_nothing_is_held()
    assert bench.names() == names


def test_a_worker_that_was_stopped_loses_nothing(bench: Bench) -> None:
    names = [f"m{number}" for number in range(30)]
    bench.put(*names, seconds=0.3)
    with bench.worker(*POOLS["threads"], visibility_timeout=1) as stopped:
        wait_until(lambda: len(bench.names()) >= 3, message="some have run")
        stopped.signal(19)
        with bench.worker(*POOLS["threads"], visibility_timeout=1):
            bench.wait_for(names)
            stopped.signal(18)
            bench.wait_until_nothing_is_held()
            bench.put("after")
            bench.wait_for(["after"])
            assert stopped.is_alive


@pytest.mark.parametrize(
    ("pool", "cold"),
    [(POOLS["threads"], False), (POOLS["solo"], False), (GEVENT, False), (POOLS["prefork"], True)],
    ids=["threads", "solo", "gevent", "prefork"],
)
def test_a_shutdown_gives_back_what_was_not_run(bench: Bench, pool: tuple[str, ...], cold: bool) -> None:
    names = [f"m{number:02}" for number in range(40)]
    bench.put(*names, seconds=0.5)
    with bench.worker(*pool, visibility_timeout=60) as worker:
        wait_until(lambda: bench.names("started"), message="one has started")
        worker.signal(3 if cold else 15)
        worker.wait()
        output = worker.output()
    assert "Traceback" not in output
    done = bench.names()
    assert bench.held() == 0
    assert bench.waiting() == len(names) - len(done)
    with bench.client() as client:
        items = client.lrange(f"{bench.key_prefix}first", 0, -1)
    left = [json.loads(json.loads(item)["body"])[0][0] for item in reversed(items)]
    if not cold:
        # As if they had not been taken: in their order, and not counted as deliveries.
        assert left == sorted(left)
        assert not any(item.startswith(b'{"routemq"') for item in items)
    assert sorted([*done, *left]) == names


def test_workers_survive_a_restart_of_redis(own_store: Callable[..., Redis], key_prefix: str, tmp_path: Path) -> None:
    bench = Bench(store=own_store(append_only=True), key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")
    names = [f"m{number}" for number in range(60)]
    with bench.worker(*POOLS["threads"], visibility_timeout=30), bench.worker(*POOLS["prefork"], visibility_timeout=30):
        bench.put(*names, seconds=0.1)
        wait_until(lambda: len(bench.names()) > 5, message="some have run")
        bench.store.kill()
        bench.store.start()
        bench.wait_for(names)
        bench.put("after")
        bench.wait_for(["after"])
        bench.wait_until_nothing_is_held()


def test_a_full_redis_drains(own_store: Callable[..., Redis], key_prefix: str, tmp_path: Path) -> None:
    store = own_store(options={"maxmemory": "8mb", "maxmemory-policy": "noeviction"})
    bench = Bench(store=store, key_prefix=key_prefix, runs_path=tmp_path / "runs.jsonl")
    names = [f"m{number}" for number in range(200)]
    bench.put(*names)
    with bench.client() as client, bench.worker(*POOLS["threads"], queues="none") as worker:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(Exception, match="maxmemory"):
            client.set("more", "x")
        worker.terminate()
    with bench.client() as client:
        client.config_set("maxmemory", "8mb")
    with bench.worker(*POOLS["threads"]) as worker, bench.client() as client:
        bench.wait_for(names)
        bench.put(*[f"n{number}" for number in range(200)], seconds=0.01)
        client.config_set("maxmemory", "1mb")
        bench.wait_for([f"n{number}" for number in range(200)])
        bench.wait_until_nothing_is_held()
        assert worker.is_alive


def test_remote_control_purge_and_report_work(bench: Bench) -> None:
    ask = f"""
import json
from {APPLICATION} import app
inspect = app.control.inspect(timeout=60, limit=1)
print(json.dumps([inspect.stats(), inspect.active(), app.bugreport()]))
"""
    purge = f"""
from {APPLICATION} import app, run
run.apply_async(("later",), countdown=60)
app.amqp.queues.select(["first"])
print(app.control.purge())
"""
    with bench.worker(*POOLS["prefork"], "-E"):
        bench.put("running", task="wait")
        bench.wait_for(["running"], event="started")
        stats, active, report = json.loads(python(bench, ask))
        (name,) = stats
        assert stats[name]["pool"]["max-concurrency"] == 2
        assert stats[name]["prefetch_count"] == 8
        assert active[name][0]["name"] == "wait"
        assert "transport:routemq_transport.transport:Transport" in report
        bench.release()
        bench.wait_for(["running"])
    bench.put("one", "two")
    assert python(bench, purge).split() == ["3"]
    assert bench.waiting() == 0


def test_a_pool_that_grows_and_shrinks_runs_everything(bench: Bench) -> None:
    names = [f"m{number}" for number in range(30)]
    with bench.worker("-P", "prefork", "--autoscale", "3,1"):
        bench.put(*names, task="wait")
        wait_until(lambda: len(bench.names("started")) == 3, message="it has grown")
        bench.release()
        bench.wait_for(names)
        bench.wait_until_nothing_is_held()
    assert bench.names() == sorted(names)
