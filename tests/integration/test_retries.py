"""What waits for another run is told with its reason, however much of it there is."""

import json
import re
import subprocess
import time
from typing import Any

import orjson
import pytest
import redis

from routemq.connections import connect_redis
from routemq.envelope import FailedAttempt
from routemq.lifecycle.moves import SET_ASIDE_S
from routemq.retries import Kind, WaitingReading, read_waiting
from routemq.settings import Settings
from tests.processes import clean_environment, wait_until
from tests.servers import REPOSITORY, Redis
from tests.workers import Bench

UNLUCKY, ACT = "unlucky", "act/{kind}"
QUEUES = ("work.unlucky", "work.act")


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def read(bench: Bench, *, kind: Kind = "later", most: int = 100, route: str | None = None) -> WaitingReading:
    with connect_redis(Settings(_env_file=None, redis_url=bench.store.url)) as client:  # type: ignore[call-arg]
        return read_waiting(client, bench.keys, QUEUES, kind=kind, most=most, route=route)


def command(bench: Bench, *options: str, exit_code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        ["routemq", "retries", *options], cwd=REPOSITORY, env=clean_environment(bench.environment() | env),
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == exit_code, run.stderr
    return run


def put_failed(bench: Bench, topic: str, *, due_at: float, count: int = 1, payload: bytes = b"null") -> None:
    """Let messages wait that have failed once."""
    failure = FailedAttempt(at=time.time(), error="ValueError: no such sensor", worker="one@here")
    messages = [bench.message(topic, payload).failed(failure) for _ in range(count)]
    with bench.store.client() as client:
        found = {each.encode(): due_at + number for number, each in enumerate(messages)}
        client.zadd(bench.keys.delayed(messages[0].queue), found)


def test_what_a_worker_is_going_to_run_again_and_what_it_sets_aside(bench: Bench) -> None:
    with bench.worker("-Q", ",".join(QUEUES), "-P", "threads", "-n", "one@here"):
        sent = bench.put("unlucky", b"x")
        found = wait_until(
            lambda: (reading := read(bench)).messages and reading.messages[0].attempts == 2 and reading,
            message="it waits for its last run",
        )
    (message,) = found.messages
    assert (message.id, message.route, message.queue, message.attempts) == (sent.id, UNLUCKY, "work.unlucky", 2)
    assert (message.error, message.worker, message.about) == (
        "ValueError: no such sensor",
        "one@here",
        "'unlucky', 1 bytes",
    )
    assert (message.failed_at or 0) < (message.due_at or 0) < found.now + 10
    assert (found.later, found.aside, found.is_whole("later")) == (1, 0, True)

    with bench.store.client() as client:
        item, due_at = client.zrange(bench.keys.delayed("work.unlucky"), 0, 0, withscores=True)[0]
        client.zadd(bench.keys.delayed("work.act"), {item: SET_ASIDE_S + due_at})
    (aside,) = read(bench, kind="aside").messages
    assert (aside.id, aside.due_at) == (sent.id, None)
    assert aside.aside_since == pytest.approx(due_at, abs=0.001)
    shown = json.loads(command(bench, "--set-aside", "--json", UNLUCKY).stdout)
    assert [(each["id"], each["max_attempts"]) for each in shown["messages"]] == [(sent.id, 3)]


def test_of_ten_thousand_the_first_are_shown_and_those_of_a_route_are_found(bench: Bench) -> None:
    now = time.time()
    put_failed(bench, "unlucky", due_at=now + 100, count=12_000)
    put_failed(bench, "act/value", due_at=now + 5000, count=3)
    put_failed(bench, "act/value", due_at=now + 6000, payload=b'"\\","content-encoding"' * 150_000)
    found = read(bench, most=5)
    assert [each.route for each in found.messages] == [UNLUCKY] * 5
    assert (found.later, found.is_whole("later")) == (12_004, False)
    assert [each.about for each in read(bench, route=ACT).messages] == ["'act/value', 4 bytes"] * 3 + [
        "'act/value', 3300000 bytes"
    ]
    assert read(bench, route="act").messages == ()
    # As kombu writes it, with spaces, and as we do.
    other = {"body": "x" * 100_000, "content-encoding": "utf-8", "headers": {"task": "kombu", "id": "k"}}
    with bench.store.client() as client:
        client.zadd(bench.keys.delayed("work.act"), {json.dumps(other): now + 7000, orjson.dumps(other): now + 7001})
    assert len(read(bench, route="kombu").messages) == 2
    run = command(bench, "--limit", "2")
    assert len(run.stdout.splitlines()) == 3
    assert "ValueError: no such sensor" in run.stdout
    assert "These are the first 2; 12,006 wait for another run." in run.stderr


def test_what_lies_there_of_others_hides_nothing(bench: Bench) -> None:
    put_failed(bench, "act/value", due_at=time.time() + 100)
    strange: list[Any] = [
        b"", b"\xff", b"[]", b"null", b"1", b'{"headers": null}', b'{"headers": {"task": 1, "id": 2}}',
        b'{"body": "', b'{"headers": {"task": "a", "id": "b", "retries": 1e400}}',
        b'{"headers": {"task": "a", "id": "b", "retries": 1e300}}',
        b'{"headers": {"task": "a", "id": "b", "routemq": {"failures": [[1e400, 2]]}}}',
        b'{"headers": {"task": "a", "id": "b", "routemq": {"failures": 7}}}',
        b'{"headers": {"task": "\\u202ea\\n", "id": "b", "routemq": {"failures": [[1, "x\\u001b[2J", "w"]]}}}',
        b'{"pad": "' + b"x" * 100_000 + b'"}',
    ]  # fmt: skip
    with bench.store.client() as client:
        client.zadd(bench.keys.delayed("work.act"), {item: number for number, item in enumerate(strange)})
        client.zadd(bench.keys.delayed("work.act"), {b"never": "-inf", b"ever": "+inf"})
        client.set(bench.keys.delayed("work.unlucky"), "another program's")
    found = read(bench)
    assert len(found.messages) == len(strange) + 2
    assert [each.route for each in found.messages if each.id][-1] == ACT
    assert "another" not in str(found)
    assert max(each.attempts for each in found.messages) == 1
    assert [bench.keys.delayed("work.unlucky") in problem for problem in found.problems] == [True]
    told = command(bench, exit_code=1)
    text = told.stdout
    assert f"the Redis key {bench.keys.delayed('work.unlucky')!r} is a string where" in told.stderr
    assert "Nothing" not in told.stderr
    assert len(told.stderr.splitlines()) == 1
    told = command(bench, "--set-aside", ACT, exit_code=1)
    assert told.stderr.endswith("Nothing is set aside where it can be read.\n")
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert len(json.loads(command(bench, "--json", ACT, exit_code=1).stdout)["messages"]) == 1
    for options in (["--json"], ["--json", "--set-aside"]):
        assert "NaN" not in command(bench, *options, exit_code=1).stdout


def test_nothing_is_told_as_nothing_and_an_absent_redis_in_a_line(bench: Bench) -> None:
    run = command(bench)
    assert (run.stdout, run.stderr) == ("", "Nothing waits for another run.\n")
    with pytest.raises(redis.RedisError), redis.Redis(port=1) as nowhere:
        read_waiting(nowhere, bench.keys, QUEUES, kind="later", most=1)


def test_a_name_of_no_route_is_told_from_a_route_of_which_nothing_waits(bench: Bench) -> None:
    with bench.store.client() as client:
        client.zadd(
            bench.keys.delayed("work.act"), {b'{"headers": {"task": "former", "id": "one", "retries": 1}}': 5.0}
        )
    assert command(bench, UNLUCKY).stderr == "Nothing waits for another run.\n"
    assert "one" in command(bench, "former").stdout
    refused = command(bench, "unlcuky", "--json", exit_code=1)
    assert (refused.stdout, "there is no route 'unlcuky'" in refused.stderr) == ("", True)


def test_own_celery_tasks_that_wait_are_told_too(bench: Bench) -> None:
    tasks = "tests.applications.own_tasks"
    env = {"ROUTEMQ_ROUTERS": tasks, "ROUTEMQ_TASKS": tasks}
    # As Celery writes one that is tried again, on a queue that no route uses.
    item = {"body": "W1tdLHt9LHt9XQ==", "content-encoding": "utf-8", "headers": {
        "task": "own.report", "id": "one", "retries": 2, "argsrepr": "('sales',)"}}  # fmt: skip
    with bench.store.client() as client:
        client.zadd(bench.keys.delayed("reports.daily"), {json.dumps(item): time.time() + 1000})
        client.zadd(bench.keys.delayed("routemq\x06\x163"), {json.dumps(item): time.time() + 2000})
    (line, other) = command(bench, **env).stdout.splitlines()[1:]
    assert re.search(r"in \d+ min +2 +own\.report +'sales', +one", line)
    assert "own.report" in other
    assert command(bench, "own.plain", **env).stderr == "Nothing waits for another run.\n"
    assert json.loads(command(bench, "own.report", "--json", **env).stdout)["messages"][0]["queue"] == "reports.daily"
