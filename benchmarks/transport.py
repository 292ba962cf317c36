"""Our Redis transport beside Celery's own, in one run on one machine.

    python -m benchmarks.transport [--rounds 5] [--backlog 50000] [--pools solo,threads,prefork] [--queues 10] [--large]

A task that does nothing, late acknowledgement, a backlog that was put before; both transports take turns in each round,
so that what else the machine does disturbs both alike. The processor time of the worker per message tells
more than the rate while other programs want the processors. The rate leaves out the first and the last
tenth of the backlog; the peer, which is slower, works off a fifth of it. Ours runs in RouteMQ's prefork pool, as its
workers do, the peer in Celery's. Both hold 32 messages for each slot of the pool, as RouteMQ's workers do, and then 4,
which is Celery's default. Prints one JSON object; progress goes to the standard error.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.processes import clean_environment
from tests.servers import REPOSITORY, Redis
from tests.transport import Bench

POOLS = {"solo": ["-P", "solo"], "threads": ["-P", "threads", "-c", "4"], "prefork": ["-P", "prefork", "-c", "2"]}
QUIET = ["-l", "WARNING", "--without-heartbeat"]
STOCK_SHARE = 5
PREFETCH = 32
"""As RouteMQ's workers have it."""
CELERYS_PREFETCH = 4
LONGEST_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is measured.

    Attributes:
        events: Whether the worker sends events.
        queues: On how many queues the backlog lies.
        backlog: How many messages.
        prefetch: Messages that the worker holds for each slot of its pool.
    """

    name: str
    transport: str
    pool: str
    events: bool = False
    queues: int = 1
    backlog: int = 50_000
    prefetch: int = PREFETCH


def fill(bench: Bench, case: Case) -> list[str]:
    """Put the backlog; returns the names of its queues."""
    names = [f"bench{number}" for number in range(case.queues)]
    with bench.client() as client:
        client.flushall()
        for queue in names:
            pattern = bench.item("x", queue=queue, task="nothing")
            message_id = json.loads(pattern)["headers"]["id"].encode()
            each = case.backlog // case.queues
            for start in range(0, each, 5000):
                count = min(5000, each - start)
                items = [pattern.replace(message_id, os.urandom(16).hex().encode()) for _ in range(count)]
                client.lpush(bench.key_prefix + queue, *items)
    return names


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    """Run a worker without a word; gives its main process."""
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            yield psutil.Process(worker.pid)
        finally:
            worker.terminate()
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()


@contextlib.contextmanager
def working(bench: Bench, case: Case, queues: Sequence[str]) -> Iterator[psutil.Process]:
    """Run the worker; gives its main process."""
    ours = case.transport == "ours"
    pool = ["-P", "custom", "-c", "2"] if ours and case.pool == "prefork" else POOLS[case.pool]
    arguments = [*pool, *QUIET, *(["-E"] if case.events else [])]
    command = [sys.executable, "-m", "celery", "-A", "tests.applications.transport", "worker", "-Q", ",".join(queues)]
    command += ["--without-mingle", "--without-gossip", *arguments]
    environment = clean_environment(bench.environment(transport=case.transport) | {"PREFETCH": str(case.prefetch)})
    if ours:
        # It sends events in batches; with a plain application Celery's own would send the few of each turn.
        environment["CONSUMER"] = "tests.applications.transport:PlainConsumer"
    environment["CELERY_CUSTOM_WORKER_POOL"] = "routemq_tasks.upstream.prefork:RouteTaskPool"
    with running(command, environment) as worker:
        yield worker


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a worker and its children so far."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def rate(bench: Bench, case: Case) -> tuple[float, float]:
    """Return messages per second of one run, and microseconds of the worker's processor time per message."""
    queues = fill(bench, case)
    with bench.client() as client:

        def left() -> int:
            with client.pipeline(transaction=True) as pipe:
                for queue in queues:
                    pipe.llen(bench.key_prefix + queue)
                pipe.hlen(f"{bench.key_prefix}unacked")
                return sum(pipe.execute())

        with working(bench, case, queues) as worker:
            return pace(worker, left, case.backlog)


def pace(worker: psutil.Process, left: Callable[[], int], backlog: int) -> tuple[float, float]:
    """Return messages per second between the first and the last tenth, and microseconds of processor time for each.

    Args:
        left: Counts what is not done yet.
    """
    until = time.monotonic() + LONGEST_S
    while (before := left()) > backlog * 0.9 and time.monotonic() < until:
        time.sleep(0.005)  # Seldom enough to leave Redis to the worker.
    began, used_s = time.perf_counter(), cpu_s(worker)
    while (after := left()) > backlog * 0.1 and time.monotonic() < until:
        time.sleep(0.005)
    took_s, used_s = time.perf_counter() - began, cpu_s(worker) - used_s
    return (before - after) / took_s, used_s / (before - after) * 1e6


def latency(bench: Bench, pool: str) -> dict[str, float]:
    """Measure an idle worker: how soon a message starts, and what it costs Redis to be idle."""
    bench.runs_path.unlink(missing_ok=True)
    put_at: list[float] = []
    with bench.client() as client, working(bench, Case(name=pool, transport="ours", pool=pool), ["first"]):
        client.flushall()

        def put() -> None:
            item = bench.item(len(put_at))
            put_at.append(time.time())
            client.lpush(f"{bench.key_prefix}first", item)
            until = time.monotonic() + 10
            while len(bench.runs()) < len(put_at) and time.monotonic() < until:
                time.sleep(0.005)

        put()  # The first one waits for the worker's own start.
        for _ in range(200):
            time.sleep(0.02)  # Until the worker is idle again.
            put()
        waits_ms = sorted((run.at - put_at[run.what]) * 1000 for run in bench.runs("started") if run.what)

        def commands() -> int:
            statistic: Any = client.info("commandstats")
            return sum(entry["calls"] for entry in statistic.values())

        before = commands()
        time.sleep(5)
        per_second = (commands() - before) / 5
    return {
        "start_ms_p50": round(statistics.median(waits_ms), 2),
        "start_ms_p99": round(waits_ms[int(len(waits_ms) * 0.99) - 1], 2),
        "idle_commands_per_s": round(per_second, 1),
    }


def summary(rates: Sequence[float]) -> dict[str, int]:
    """Return the median and the spread."""
    return {"median": round(statistics.median(rates)), "least": round(min(rates)), "most": round(max(rates))}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--pools", default="solo,threads,prefork")
    parser.add_argument("--queues", type=int, default=10, help="also measure this many queues against one; 0 for not")
    parser.add_argument("--large", action="store_true", help="also measure a backlog of 1,000,000")
    chosen = parser.parse_args()
    cases = [
        Case(
            name=f"{pool}{what}",
            transport=transport,
            pool=pool,
            events=events,
            prefetch=prefetch,
            backlog=chosen.backlog // (1 if transport == "ours" else STOCK_SHARE),
        )
        for pool in chosen.pools.split(",")
        for what, events, prefetch in (
            ("", False, PREFETCH),
            (" -E", True, PREFETCH),
            (f", prefetch {CELERYS_PREFETCH}", False, CELERYS_PREFETCH),
        )
        for transport in ("ours", "stock")
    ]
    if chosen.queues:
        cases.append(
            Case(
                name=f"solo, {chosen.queues} queues",
                transport="ours",
                pool="solo",
                queues=chosen.queues,
                backlog=chosen.backlog,
            )
        )
    if chosen.large:
        cases.append(Case(name="solo, backlog 1,000,000", transport="ours", pool="solo", backlog=1_000_000))
    rates: dict[tuple[str, str], list[float]] = {}
    costs: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        store = Redis(directory=Path(folder) / "redis")
        store.start()
        try:
            bench = Bench(store=store, key_prefix="", runs_path=Path(folder) / "runs.jsonl")
            idle = {pool: latency(bench, pool) for pool in chosen.pools.split(",")}
            for number in range(chosen.rounds):
                for case in cases:
                    found, cost_us = rate(bench, case)
                    rates.setdefault((case.name, case.transport), []).append(found)
                    costs.setdefault((case.name, case.transport), []).append(cost_us)
                    print(
                        f"round {number + 1}: {case.name}, {case.transport}: {found:,.0f} messages/s, "
                        f"{cost_us:.0f} us of processor time each"
                    )
        finally:
            store.stop()
    report: dict[str, Any] = {"idle": idle, "messages_per_s": {}}
    for (name, transport), found_rates in rates.items():
        entry = summary(found_rates) | {"cpu_us_each": round(statistics.median(costs[name, transport]))}
        report["messages_per_s"].setdefault(name, {})[transport] = entry
    for entry in report["messages_per_s"].values():
        if "stock" in entry:
            entry["times"] = round(entry["ours"]["median"] / entry["stock"]["median"], 2)
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
