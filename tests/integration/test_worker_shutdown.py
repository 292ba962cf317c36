"""A warm shutdown: what runs is done, the rest is on its queue, and it ends soon, whatever Redis does meanwhile."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from routemq.envelope import TaskMessage
from tests.processes import wait_until
from tests.servers import HOST, REPOSITORY, SLOW_NAMES, Redis
from tests.workers import Bench

ROUNDS = 4
MOST_S = 25.0
"""Celery's own pool waits for half a minute for a child whose result nobody reads."""


def test_a_prefork_worker_ends_soon_and_runs_nothing_twice(redis_server: Redis, key_prefix: str) -> None:
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    sent: set[str] = set()
    for number in range(ROUNDS):
        # More than are done before the signal comes, however late that is.
        sent |= set(bench.put_many(["slow/sleep"] * 1500, "0.01"))
        with bench.worker("-Q", "slow", "-P", "prefork", "-c", "3") as worker:
            before = len(bench.notes("slept"))
            wait_until(lambda: len(bench.notes("slept")) > before + 20, message="some are done")  # noqa: B023
            began = time.monotonic()
            assert worker.terminate() == 0
            took_s = time.monotonic() - began
        assert took_s < MOST_S, f"round {number + 1}"
        assert bench.held() == 0
        runs = Counter(note["id"] for note in bench.notes("started"))
        assert set(runs.values()) == {1}
        assert sorted(runs) == sorted(note["id"] for note in bench.notes("slept"))
        assert bench.totals()["slow/sleep"].done == len(runs)
        assert len(runs) + bench.waiting("slow") == len(sent)
        assert bench.waiting("slow")


@pytest.mark.parametrize(
    ("pool", "transport", "how"),
    [
        ("prefork", "routemq", "silent"),
        ("threads", "routemq", "silent"),
        ("threads", "stock", "silent"),
        ("prefork", "routemq", "gone"),
    ],
)
def test_a_worker_ends_soon_though_redis_does_not_answer(
    own_store: Callable[..., Redis], key_prefix: str, pool: str, transport: str, how: str
) -> None:
    """Celery's heartbeats and answers to remote control are tried for ever, deaf to every signal."""
    store = own_store()
    bench = Bench(store=store, key_prefix=key_prefix)
    with bench.worker("-Q", "slow", "-P", pool, "-c", "2", "-E", env={"ROUTEMQ_TRANSPORT": transport}) as worker:
        bench.put("slow/async", "0")
        wait_until(lambda: bench.totals()["slow/async"].done == 1, ignoring=(KeyError,), message="one is done")
        store.pause() if how == "silent" else store.kill()
        # The first heartbeat without an answer.
        silent_since = time.monotonic()
        wait_until(lambda: time.monotonic() > silent_since + 2.5, message="it is silent")
        # Not the two minutes of kombu.
        assert worker.terminate() == 0
        assert "Traceback" not in worker.output()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_an_outcome_that_cannot_be_recorded_keeps_no_worker_from_ending(
    own_store: Callable[..., Redis], key_prefix: str, pool: str
) -> None:
    store = own_store(append_only=True)
    bench = Bench(store=store, key_prefix=key_prefix)
    with bench.worker("-Q", "slow", "-P", pool, "-c", "2") as worker:
        sent = bench.put("slow/outlives-redis")
        bench.wait_for_notes("started", 1)
        store.kill()
        worker.wait_for_output("outcome not recorded yet")
        began = time.monotonic()
        assert worker.terminate() == 0
        assert time.monotonic() - began < MOST_S
    store.start()
    assert bench.waiting("slow") + bench.held() == 1
    with bench.store.client() as client:
        assert sent.id in str([*client.lrange(bench.keys.queue("slow"), 0, -1), *client.hvals(bench.keys.unacked)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_a_stop_that_its_children_hear_too_interrupts_nothing_and_strikes_nobody(
    redis_server: Redis, key_prefix: str, number: signal.Signals
) -> None:
    """As systemd stops a service, and Ctrl-\\ a terminal's foreground."""
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    with bench.worker("-Q", "slow", "-P", "prefork", "-c", "3") as worker:
        sent = set(bench.put_many(["slow/held"] * 6))
        bench.wait_for_notes("started", 3)
        worker.signal_all(number)
        if number is signal.SIGTERM:
            worker.wait_for_output("Warm shutdown")
            bench.release()
        worker.wait()
        assert "WorkerLost" not in worker.output()
        assert "failed in run" not in worker.output()
    slept = {note["id"] for note in bench.notes("slept")}
    with bench.store.client() as client:
        items = client.lrange(bench.keys.queue("slow"), 0, -1) + client.zrange(bench.keys.delayed("slow"), 0, -1)
    waiting = {TaskMessage.decode(item) for item in items}
    assert {message.strikes for message in waiting} <= {0}
    assert slept | {message.id for message in waiting} == sent
    assert slept == ({note["id"] for note in bench.notes("started")} if number is signal.SIGTERM else set())
    assert not bench.letters()


def test_what_runs_longer_than_the_grace_of_a_worker_alone_is_given_back(redis_server: Redis, key_prefix: str) -> None:
    """As one SIGTERM of systemd, Kubernetes or Docker asks for: no second signal comes before SIGKILL."""
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    with bench.worker("-Q", "slow", "-c", "2", env={"SHUTDOWN_GRACE_S": "1"}) as worker:
        long = bench.put("slow/held").id
        bench.wait_for_notes("started", 1)
        assert worker.terminate() in (0, 1)
    assert not bench.notes("slept")
    with bench.store.client() as client:
        items = client.lrange(bench.keys.queue("slow"), 0, -1) + client.zrange(bench.keys.delayed("slow"), 0, -1)
    (back,) = map(TaskMessage.decode, items)
    assert (back.id, back.strikes, bench.held()) == (long, 0, 0)


def test_a_child_is_still_ended_by_its_parent(redis_server: Redis, key_prefix: str) -> None:
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    with bench.worker("-Q", "slow,deaf", "-P", "prefork", "-c", "2") as worker:
        sent = bench.put("slow/held").id
        bench.wait_for_notes("started", 1)
        bench.ask("terminate", signal="SIGTERM", task_id=[sent])
        wait_until(lambda: not bench.held(), message="it is revoked")
        bench.put("slow/sleep", "0")
        bench.wait_for_notes("slept", 1)
        assert worker.is_alive
    assert not bench.letters()


@pytest.mark.parametrize("transport", ["routemq", "stock"])
def test_a_worker_ends_soon_though_no_name_server_answers(
    redis_server: Redis, key_prefix: str, tmp_path: Path, transport: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_NAMES, encoding="utf-8")
    bench = Bench(store=redis_server, key_prefix=key_prefix)
    env = {
        "ROUTEMQ_TRANSPORT": transport,
        "REDIS_URL": redis_server.url.replace(HOST, "slow.example"),
        "PYTHONPATH": f"{tmp_path}:{REPOSITORY}",
    }
    with bench.worker("-P", "threads", env=env, ready=False) as worker:
        worker.wait_for_output("no name server has answered within 5 s")
        # Long before the name server says its last word.
        assert worker.terminate() == 0


THREAD = """
import threading
from tests.applications.execution import router
threading.Thread(target=threading.Event().wait, name="a thread that nobody ends").start()
"""


def test_a_thread_that_keeps_the_process_is_named(redis_server: Redis, key_prefix: str, tmp_path: Path) -> None:
    (tmp_path / "keeping.py").write_text(THREAD, encoding="utf-8")
    bench = Bench(store=redis_server, key_prefix=key_prefix, application="keeping")
    with bench.worker("-P", "threads", env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}) as worker:
        worker.signal(signal.SIGTERM)
        worker.wait_for_output("threads that are not daemons: a thread that nobody ends")
        worker.signal(signal.SIGKILL)
        worker.wait()
