"""What a worker and Flower tell of themselves and of the fleet, over HTTP."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.applications import quick as application
from tests.processes import PATIENCE_S, clean_environment, running, wait_until
from tests.servers import HOST, REPOSITORY, Redis, free_port
from tests.systemd import Systemd
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def ask(port: int, path: str, *, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def readiness(port: int) -> dict[str, Any]:
    status, text = ask(port, "/readyz")
    return {"status": status, **json.loads(text)}


def samples(port: int) -> dict[str, float]:
    """Return the metrics by their names with labels."""
    _, text = ask(port, "/metrics")
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}


def health(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["routemq", "health", *arguments], env=clean_environment({"WORKER_HEALTH_PORT": str(port)}),
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_worker_is_ready_and_says_why_it_is_not(
    own_store: Callable[..., Redis], key_prefix: str, pool: str, systemd: Systemd
) -> None:
    bench, port = Bench(store=own_store(), key_prefix=key_prefix), free_port()
    env = {"WORKER_HEALTH_PORT": str(port), **systemd.environment}
    with bench.worker("-Q", "slow", "-P", pool, "-c", "2", env=env) as worker:
        wait_until(lambda: readiness(port)["status"] == 200, message="it is ready")
        systemd.hear(b"READY=1\nSTATUS=serving")
        systemd.hear(b"WATCHDOG=1")
        bench.store.stop()
        away = wait_until(lambda: (now := readiness(port))["status"] == 503 and now, message="it is not ready")
        assert (away["alive"], "redis is away" in away["problem"]) == (True, True)
        assert ask(port, "/healthz")[0] == 200
        bench.store.start()
        wait_until(lambda: readiness(port)["status"] == 200, message="it is ready again")
        worker.terminate()
        systemd.hear(b"STOPPING=1")


def test_a_pool_without_children_is_told_and_a_frozen_worker_answers_nothing(bench: Bench) -> None:
    port = free_port()
    with bench.worker("-Q", "slow", "-c", "1", env={"WORKER_HEALTH_PORT": str(port)}) as worker:
        wait_until(lambda: readiness(port)["status"] == 200, message="it is ready")
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            with pytest.raises((TimeoutError, urllib.error.URLError)):
                ask(port, "/healthz", timeout_s=0.5)
            run = health(port, "worker", "--timeout", "0.5")
            assert (run.returncode, "no answer" in run.stderr) == (1, True)
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        run = wait_until(lambda: (run := health(port)).returncode == 0 and run, message="it is ready again")
        assert json.loads(run.stdout)["ready"] is True


def test_a_port_that_is_taken_is_told_in_a_line(bench: Bench) -> None:
    with socket.create_server((HOST, 0)) as taken:
        env = {"WORKER_HEALTH_PORT": str(taken.getsockname()[1])}
        with bench.worker("-Q", "slow", "-P", "threads", env=env, ready=False) as worker:
            assert worker.wait() == 1
            output = worker.output()
    assert "the port cannot be had, Address already in use" in output
    assert "Traceback" not in output


@pytest.fixture
def quick(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix, application=application.__name__, router=application.router)


@pytest.fixture
def flower(quick: Bench) -> Iterator[int]:
    """The health port of a Flower that runs."""
    port = free_port()
    env = quick.environment() | {"FLOWER_HEALTH_PORT": str(port), "ROUTEMQ_TASKS": "tests.applications.own_tasks"}
    argv = ["celery", "-A", "routemq", "flower", f"--port={free_port()}"]
    with running(argv, cwd=REPOSITORY, env=env, fork=True):
        wait_until(lambda: ask(port, "/healthz")[0] == 200, message="it answers", ignoring=(OSError,))
        yield port


def test_one_scrape_of_the_fleet_counts_each_message_once(quick: Bench, flower: int) -> None:
    """Also those that failed, ran in a child that was killed, or in one that was recycled."""
    ports = [free_port(), free_port()]
    options = ("-Q", "quick", "-c", "1", "--max-tasks-per-child", "1500")
    with (
        quick.worker(*options, "-n", "a@here", env={"WORKER_HEALTH_PORT": str(ports[0])}),
        quick.worker(*options, "-n", "b@here", env={"WORKER_HEALTH_PORT": str(ports[1])}),
    ):
        good, bad, deadly = 9_900, 99, 1
        kinds = ["fine"] * good + ["reject"] * bad + ["kill"] * deadly
        random.Random(7).shuffle(kinds)
        items = [quick.message(f"quick/{kind}", received_at=time.time()).encode() for kind in kinds]
        with quick.store.client() as client:
            client.lpush(quick.keys.queue("quick"), *items)
        wait_until(
            lambda: sum(found.done + found.dead for found in quick.totals().values()) == good + bad + deadly,
            message="all are done or dead",
        )  # fmt: skip
        route = "quick/{kind}"
        fleet = samples(flower)
        assert fleet[f'routemq_done_total{{route="{route}"}}'] == good
        dead = {name: value for name, value in fleet.items() if name.startswith("routemq_dead_total")}
        assert sum(dead.values()) == bad + deadly
        assert dead[f'routemq_dead_total{{reason="rejected",route="{route}"}}'] == bad
        counted = [samples(port).get(f'routemq_latency_seconds_count{{route="{route}"}}', 0) for port in ports]
        assert sum(counted) == good
        assert fleet['routemq_queue_workers{queue="quick"}'] == 2
        assert fleet["routemq_redis_up"] == 1
        # For what scales the workers of the application's own tasks.
        assert fleet['routemq_queue_unfinished{queue="reports.daily"}'] == 0
        assert not [name for name in samples(ports[0]) if name.startswith(("routemq_done", "routemq_dead"))]


def test_flower_is_not_ready_without_redis(own_store: Callable[..., Redis], key_prefix: str) -> None:
    bench, port = Bench(store=own_store(), key_prefix=key_prefix), free_port()
    env = bench.environment() | {"FLOWER_HEALTH_PORT": str(port)}
    with running(["celery", "-A", "routemq", "flower", f"--port={free_port()}"], cwd=REPOSITORY, env=env, fork=True):
        wait_until(lambda: readiness(port)["status"] == 200, message="it is ready", ignoring=(OSError,))
        bench.store.stop()
        assert readiness(port)["status"] == 503
        assert samples(port) == {"routemq_redis_up": 0.0}
