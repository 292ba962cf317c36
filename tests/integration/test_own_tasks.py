"""Celery tasks of the application's own in `celery -A routemq worker` and `beat`."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from celery import Celery

from routemq.discovery import load_router
from tests.processes import RunningProcess, running, wait_until
from tests.servers import REPOSITORY, Redis
from tests.workers import Bench

TASKS = "tests.applications.own_tasks"
SCHEDULE = "tests.applications.own_schedule"
ENV = {"ROUTEMQ_ROUTERS": TASKS, "ROUTEMQ_TASKS": f"{TASKS}, {SCHEDULE}"}


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    # Where another test has left a Celery app, tasks are bound as they are read, and Celery tells of a queue in one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        router = load_router(TASKS)
    return Bench(store=redis_server, key_prefix=key_prefix, router=router)


@contextmanager
def worker(bench: Bench, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[RunningProcess]:
    with bench.worker(*arguments, env=ENV | dict(env or {})) as process:
        yield process


def given(bench: Bench, what: str, count: int) -> list[Any]:
    return [note["given"] for note in bench.wait_for_notes(what, count)]


@pytest.mark.parametrize("transport", ["routemq", "stock"])
@pytest.mark.parametrize(
    "pool", [("-P", "prefork", "-c", "2"), ("-P", "threads", "-c", "2")], ids=["prefork", "threads"]
)
def test_a_controller_sends_tasks_of_the_applications_own(bench: Bench, pool: tuple[str, ...], transport: str) -> None:
    with worker(bench, *pool, env={"ROUTEMQ_TRANSPORT": transport}) as process:
        kicks = {what: bench.put(f"kick/{what}").id for what in ("plain", "later", "chain", "group", "map", "flaky")}
        plain = given(bench, "plain", 2)
        reports = given(bench, "report", 2)
        added = bench.wait_for_notes("add", 5)
        flaky = bench.wait_for_notes("flaky", 6)
        (failed,) = bench.wait_for_notes("failed", 1)
        wait_until(lambda: bench.held() == 0, message="all is acknowledged")
        output = process.output()

    assert sorted(plain) == sorted([kicks["plain"], "report of devices"])
    assert sorted(reports) == sorted([kicks["later"], "devices"])
    assert sorted(note["numbers"] for note in added) == [[0, 1], [1, 1], [1, 2], [2, 1], [3, 4]]
    # In Celery's manner: tried again by itself, then an error in the log and its errback; no dead letter.
    assert sorted((note["good_at"], note["tries"]) for note in flaky) == [
        (2, 0),
        (2, 1),
        (2, 2),
        (9, 0),
        (9, 1),
        (9, 2),
    ]
    assert failed["error"] == "not yet"
    assert "Task own.flaky" in output
    assert "ValueError: not yet" in output
    assert bench.letters() == {}
    assert bench.totals()["kick/{what}"].done == 6


def test_queues_of_own_tasks_are_known(bench: Bench) -> None:
    with worker(bench, "-Q", "reports", "-P", "threads") as process:
        output = process.output()
        called = bench.celery("call", "own.report", "--args", '["call"]', "--queue", "reports.daily", **ENV)
        bench.celery("call", "own.plain", "--args", '["nobody serves this queue"]', **ENV)
        assert given(bench, "report", 1) == ["call"]
        # As a program with a Celery app of its own, over Celery's transport, sends it.
        options = {"global_keyprefix": bench.key_prefix}
        with Celery(set_as_current=False, broker=bench.store.url, broker_transport_options=options) as theirs:
            theirs.send_task("own.report", args=["of another program"], queue="reports.daily", ignore_result=True)
        assert given(bench, "report", 2)[1] == "of another program"
        assert bench.waiting("routemq") == 1
    refused = bench.celery("worker", "-Q", "report", **ENV)
    everything = bench.celery("report", **ENV)

    assert called.returncode == 0
    assert [name for name in ("kick", "of.the.app", "reports.daily", "reports.sums") if f".> {name} " in output] == [
        "reports.daily", "reports.sums",
    ]  # fmt: skip
    assert "concurrency: 2 (thread)" in output
    assert "no route uses the queue 'report'; the queues there are: kick, of.the.app, reports.daily" in refused.stderr
    assert everything.returncode == 0


def test_beat_sends_what_is_due(bench: Bench, tmp_path: Path) -> None:
    beat = ["celery", "-A", "routemq", "beat", "-s", str(tmp_path / "beat"), "--pidfile="]
    with (
        running(beat, cwd=REPOSITORY, env=bench.environment() | ENV, fork=True),
        worker(bench, "-Q", "reports", "-P", "solo"),
    ):
        assert given(bench, "report", 2) == ["the clock"] * 2


def test_a_task_that_nobody_would_run_is_an_error_where_it_is_sent(bench: Bench) -> None:
    with worker(bench, "-Q", "kick", "-P", "threads", env={"ROUTEMQ_TASKS": TASKS}):
        bench.put("kick/stray")
        (letter,) = bench.wait_for_letters(1).values()

    said = letter.description["message"]
    assert "no route uses it, and no task in the modules of ROUTEMQ_TASKS (own.plain)" in said


def test_modules_that_are_not_there_are_one_line(bench: Bench) -> None:
    ended = bench.celery("worker", ROUTEMQ_TASKS="app.no_such")

    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: tasks app.no_such: there is no module 'app.no_such' in ")
    assert "ROUTEMQ_TASKS" in ended.stderr


def test_what_waits_for_its_time_is_what_celery_sent(bench: Bench) -> None:
    bench.celery("call", "own.plain", "--args", '["x"]', "--countdown", "60", **ENV)

    with bench.store.client() as client:
        (item,) = client.zrange(bench.keys.delayed("routemq"), 0, -1)
    assert orjson.loads(item)["headers"]["task"] == "own.plain"
