"""`routemq top` on a fleet that runs."""

import io
import json
import subprocess
import time
from typing import Any

import pytest
import redis
from rich.console import Console
from routemq_ops.fleet_view import FleetView

from routemq.cli.top import _follow
from routemq.metrics.fleet import FleetReading, read_fleet
from tests.processes import clean_environment, wait_until
from tests.servers import REPOSITORY, Redis
from tests.workers import Bench


@pytest.fixture
def bench(redis_server: Redis, key_prefix: str) -> Bench:
    return Bench(store=redis_server, key_prefix=key_prefix)


def shown(bench: Bench, *options: str) -> str:
    run = subprocess.run(
        ["routemq", "top", "--every", "0.5", *options], cwd=REPOSITORY, env=clean_environment(bench.environment()),
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    return run.stdout


def route(bench: Bench, name: str) -> dict[str, Any]:
    (found,) = [line for line in json.loads(shown(bench, "--json"))["routes"] if line["name"] == name]
    return dict(found)


def test_what_waits_runs_and_died_is_shown(bench: Bench) -> None:
    with bench.worker("-Q", "slow", "-P", "threads", "-c", "2", "-n", "one@here") as worker:
        bench.put("slow/limited", "no json")
        bench.wait_for_letters(1)
        # One that is there however long it takes to look, and others that are soon done.
        for duration_s in ("100", "3", "3"):
            bench.put("slow/sleep", duration_s, received_at=time.time())
        line = wait_until(lambda: (found := route(bench, "slow/sleep"))["held"] and found, message="they are held")
        assert line["concurrency"] == 2
        assert route(bench, "limited")["dead_letters"] == 1
        line = wait_until(lambda: (found := route(bench, "slow/sleep"))["p50_s"] and found, message="they are done")
        assert 2.5 < line["p50_s"] <= line["p99_s"] < 30
        text = shown(bench, "--once")
        assert "worker one@here" in text
        worker.kill_all()


@pytest.mark.parametrize("width", [80, 200])
def test_every_line_fits_and_no_figure_is_cut(bench: Bench, width: int) -> None:
    view = FleetView(bench.router.routes)
    with bench.store.client() as client:
        for _ in range(2):
            view.add(read_fleet(client, bench.keys, queues=bench.router.queues, routes=bench.router.routes, group="g"))
    console = Console(width=width, file=io.StringIO())
    console.print(view.render(width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    assert {"in/s", "out/s", "waiting", "oldest", "dead", "p50", "p99"} <= set(lines[2].split())
    assert "nobody is there" in lines[-1]


def test_with_redis_away_nothing_of_before_is_shown_as_if_it_were_now(bench: Bench) -> None:
    view = FleetView(bench.router.routes)
    with bench.store.client() as client:
        view.add(read_fleet(client, bench.keys, queues=bench.router.queues, routes=bench.router.routes, group="tests"))
    ends = iter([redis.ConnectionError("gone"), redis.ConnectionError("gone"), KeyboardInterrupt()])

    def read() -> FleetReading:
        raise next(ends)

    screen = io.StringIO()
    _follow(Console(file=screen, force_terminal=True, width=100), view, read, 0.01)
    before, told, after = screen.getvalue().partition("trying again")
    assert ("RouteMQ" in before, bool(told), "RouteMQ" in after) == (True, True, False)
