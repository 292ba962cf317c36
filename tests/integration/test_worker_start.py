"""`celery -A routemq worker …`: which queues, how many hands, and one clear line when it cannot start."""

import json
import urllib.request
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S, running, wait_until
from tests.servers import REPOSITORY, Redis, free_port
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


@pytest.mark.parametrize(
    ("arguments", "env", "banner"),
    [
        ("-Q work", {}, "concurrency: 11 (prefork)"),
        ("-Q work.act,slow -P threads", {"WORKER_COUNT": "5"}, "concurrency: 5 (thread)"),
        ("-Q work -c 2", {"WORKER_COUNT": "5", "WORKER_AUTO_SCALE": "true"}, "concurrency: 2 (prefork)"),
        (
            "-Q work -X work.unlucky",
            {"WORKER_AUTO_SCALE": "true", "WORKER_MIN_COUNT": "1", "WORKER_MAX_COUNT": "3"},
            "concurrency: {min=1, max=3} (prefork)",
        ),
        ("-Q work --autoscale 4,2", {"WORKER_COUNT": "5"}, "concurrency: {min=2, max=4} (prefork)"),
        # These pools have no way to grow: the most that was asked for.
        ("-Q work.act --pool threads", {"WORKER_AUTO_SCALE": "1", "WORKER_MAX_COUNT": "7"}, "concurrency: 7 (thread)"),
        ("-Q work.act -P solo", {"WORKER_AUTO_SCALE": "1", "WORKER_MAX_COUNT": "7"}, "concurrency: 7 (solo)"),
    ],
    ids=["routes", "WORKER_COUNT", "-c", "WORKER_AUTO_SCALE", "--autoscale", "threads", "solo"],
)
def test_concurrency_is_the_routes_unless_it_is_said(
    bench: Bench, arguments: str, env: dict[str, str], banner: str
) -> None:
    with bench.worker(*arguments.split(), env=env) as worker:
        bench.put("raw/x")
        bench.wait_for_notes("raw", 1) if "work.act" not in arguments else None
        output = worker.output()
        assert worker.terminate() == 0

    assert banner in output
    assert ".> work.act " in output
    assert (".> work.unlucky " in output) == ("-X" not in arguments and "work.act" not in arguments)
    assert ".> answer " not in output


def test_without_a_queue_a_worker_serves_all(bench: Bench) -> None:
    with bench.worker("-P", "threads") as worker:
        output = worker.output()

    assert all(f".> {queue} " in output for queue in bench.router.queues)


@pytest.mark.parametrize(
    ("arguments", "env", "line"),
    [
        (["-Q", "works"], {}, "Error: no route uses the queue 'works'; the queues there are: answer, deaf, slow, "),
        (["-X", "work,slow,deaf,answer"], {}, "Error: -X leaves this worker no queue"),
        (["-Q", ""], {}, "Error: the name of a queue is empty; is a variable not set? "),
        (["-Q", "work, "], {}, "Error: the name of a queue is empty; is a variable not set? "),
        (["-X", ""], {}, "Error: the name of a queue is empty; is a variable not set? "),
        (
            ["-D", "-Q", "works"],
            {},
            "Error: no route uses the queue 'works'; the queues there are: answer, deaf, slow, ",
        ),
        ([], {"ROUTEMQ_ROUTERS": "no_such_app"}, "Error: routers no_such_app: there is no module 'no_such_app'"),
        ([], {"WORKER_COUNT": "many"}, "Error: WORKER_COUNT='many' cannot be used"),
    ],
    ids=["queue", "no queue", "-Q of nothing", "-Q of a part", "-X of nothing", "detached", "routers", "setting"],
)
def test_a_worker_that_cannot_start_says_so_in_one_line(
    bench: Bench, arguments: list[str], env: dict[str, str], line: str
) -> None:
    ended = bench.celery("worker", *arguments, **env)

    assert ended.returncode not in (0, -15)
    assert line in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "ready." not in ended.stdout


def test_a_controller_that_is_not_there_stops_the_worker_of_its_queue_alone(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "absent_app.py").write_text(
        "from routemq import Router\nrouter = Router()\n"
        "router.on('a', 'no.such:controller', queue='a')\nrouter.on('b', 'builtins:print', queue='b')\n",
        encoding="utf-8",
    )
    env = {"ROUTEMQ_ROUTERS": "absent_app", "PYTHONPATH": str(tmp_path)}
    ended = bench.celery("worker", "-Q", "a", **env)

    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: ")
    assert "absent_app.py:3: route 'a': controller no.such:controller: " in ended.stderr


def test_flower_and_inspect_name_messages_by_their_route(bench: Bench) -> None:
    port = free_port()
    flower = ["celery", "-A", "routemq", "flower", f"--port={port}", "--address=127.0.0.1"]
    environment = bench.environment() | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with (
        running(flower, cwd=REPOSITORY, env=environment, fork=True),
        bench.worker("-Q", "work", "-P", "threads", "-E"),
    ):
        url = f"http://127.0.0.1:{port}/api"

        def api(path: str) -> dict[str, dict[str, object]]:
            with urllib.request.urlopen(f"{url}/{path}", timeout=PATIENCE_S) as answer:
                found: dict[str, dict[str, object]] = json.load(answer)
                return found

        wait_until(lambda: api("workers?refresh=1"), ignoring=(OSError,), message="Flower sees the worker")
        good, bad = bench.put("lines/7/state", '{"temperature": 21.5}'), bench.put("act/value", "secret-words")
        lost = bench.put("lines/7/state", "nothing")
        bench.wait_for_letters(2)
        expected = {good.id: "SUCCESS", bad.id: "FAILURE", lost.id: "FAILURE"}
        wait_until(
            lambda: {uuid: task["state"] for uuid, task in api("tasks").items()} == expected,
            message="Flower knows how each ended",
        )
        tasks = api("tasks")
        registered = bench.ask("registered")
        report = bench.celery("report")

    assert (tasks[good.id]["name"], tasks[good.id]["args"]) == ("lines/{line:int}/state", "('lines/7/state', 21 bytes)")
    assert (tasks[bad.id]["name"], tasks[bad.id]["args"]) == ("act/{kind}", "('act/value', 12 bytes)")
    assert tasks[bad.id]["retries"] == 2
    assert "ValueError" in str(tasks[bad.id]["exception"])
    assert "secret-words" not in json.dumps(tasks)
    assert "lines/{line:int}/state" in registered
    assert "redis" in report.stdout
    assert report.returncode == 0
