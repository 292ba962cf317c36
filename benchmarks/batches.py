"""One worker on a backlog of messages, each a row of SQLite: one INSERT each, or `batch=` and one `executemany`.

    python -m benchmarks.batches [--rounds 5] [--backlog 20000] [--pools solo,prefork] [--batch 500] [--wal]

Both sides take turns in each round. SQLite is as it comes, so that each transaction waits for the disk; with `--wal` it
is set as the sample application sets it, and none waits. The side with one INSERT each works off a tenth. The rate
leaves out the first and the last tenth. After each run the rows are counted. Prints one JSON object; progress goes to
the standard error.
"""

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.transport import POOLS, QUIET, pace, running, summary
from routemq import Batch, Message, Router
from routemq.envelope import Envelope, TaskMessage
from tests.processes import clean_environment
from tests.servers import Redis

DATABASE, BATCH, WAL = "ROUTEMQ_BENCH_DATABASE", "ROUTEMQ_BENCH_BATCH", "ROUTEMQ_BENCH_WAL"
PAYLOAD = b'{"temperature": 21.5, "humidity": 40, "seq": 1234}'
_INSERT = "INSERT OR IGNORE INTO readings VALUES (?, ?, ?)"
_SINGLE_SHARE = 10
_LONGEST_S = 60.0
_connections: dict[int, sqlite3.Connection] = {}


def database() -> sqlite3.Connection:
    """Return this process's connection."""
    pid = os.getpid()
    if pid not in _connections:
        connection = sqlite3.connect(os.environ[DATABASE], timeout=30, isolation_level=None)
        if os.environ.get(WAL):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS readings (id TEXT PRIMARY KEY, device TEXT, temperature REAL)")
        _connections[pid] = connection
    return _connections[pid]


def store(device: str, payload: dict[str, Any], message: Message) -> None:
    """Insert one."""
    database().execute(_INSERT, (message.id, device, payload["temperature"]))


def store_all(device: list[str], payloads: list[dict[str, Any]], messages: list[Message]) -> None:
    """Insert all in one transaction."""
    connection = database()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        rows = zip(messages, device, payloads, strict=True)
        connection.executemany(_INSERT, [(each.id, name, payload["temperature"]) for each, name, payload in rows])


router = Router()
router.on("single/{device}", store, queue="single")
router.on("batch/{device}", store_all, queue="batch", batch=Batch(max_messages=int(os.environ.get(BATCH) or 500)))


def rate(redis: Redis, folder: Path, side: str, pool: str, *, backlog: int, batch: int) -> tuple[float, float]:
    """Return messages per second of one run, and microseconds of the worker's processor time per message."""
    path = folder / f"{time.monotonic_ns()}.sqlite3"
    (route,) = (route for route in router.routes if route.queue == side)

    def item() -> bytes:
        envelope = Envelope(topic=f"{side}/d0", payload=PAYLOAD, received_at=time.time())
        return TaskMessage(route=route.name, queue=side, envelope=envelope).encode()

    with redis.client() as client:
        client.flushall()
        for _ in range(0, backlog, 1000):
            client.lpush(side, *(item() for _ in range(1000)))

        def left() -> int:
            with client.pipeline(transaction=True) as pipe:
                pipe.llen(side)
                pipe.hlen("unacked")
                return sum(pipe.execute())

        command = [sys.executable, "-m", "celery", "-A", "routemq", "worker", "-Q", side, *POOLS[pool], *QUIET]
        command += ["--without-mingle", "--without-gossip"]
        environment = {"REDIS_URL": redis.url, "ROUTEMQ_ROUTERS": "benchmarks.batches", "ROUTEMQ_KEY_PREFIX": ""}
        environment |= {DATABASE: str(path), BATCH: str(batch), WAL: os.environ[WAL]}
        with running(command, clean_environment(environment)) as worker:
            found = pace(worker, left, backlog)
            until = time.monotonic() + _LONGEST_S
            while left() and time.monotonic() < until:
                time.sleep(0.01)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((rows,),) = connection.execute("SELECT count(*) FROM readings")
    if rows != backlog:
        raise SystemExit(f"{side}, {pool}: {rows} rows of {backlog} messages")
    return found


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--pools", default="solo,prefork")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--wal", action="store_true", help="set SQLite as the sample application does")
    chosen = parser.parse_args()
    os.environ[WAL] = "yes" if chosen.wal else ""
    pools = chosen.pools.split(",")
    found: dict[str, dict[str, list[tuple[float, float]]]] = {pool: {"batch": [], "single": []} for pool in pools}
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        redis = Redis(directory=folder / "redis", append_only=True)
        redis.start()
        try:
            for number in range(chosen.rounds):
                for pool in pools:
                    for side, share in (("batch", 1), ("single", _SINGLE_SHARE)):
                        backlog = max(1000, chosen.backlog // share)
                        each = rate(redis, folder, side, pool, backlog=backlog, batch=chosen.batch)
                        found[pool][side].append(each)
                        print(f"round {number + 1}: {pool}, {side}: {each[0]:,.0f} messages/s, {each[1]:.0f} us each")
        finally:
            redis.stop()
    report: dict[str, dict[str, Any]] = {}
    for pool, sides in found.items():
        times = [batch[0] / single[0] for batch, single in zip(sides["batch"], sides["single"], strict=True)]
        report[pool] = {
            side: summary([each[0] for each in runs]) | {"cpu_us_each": round(statistics.median(e[1] for e in runs))}
            for side, runs in sides.items()
        }
        report[pool]["times"] = {"median": round(statistics.median(times), 1), "least": round(min(times), 1)}
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
