"""A worker alone, on a backlog of route messages in Redis, beside a stock Celery worker that does the same.

    python -m benchmarks.worker [--rounds 5] [--backlog 40000] [--pools solo,threads,prefork] [--events]

The controller gets 50 bytes of JSON as a dict, and does nothing; the peer's task is given the same topic and text and
parses it. Both acknowledge late and hold 32 messages for each slot of the pool. They take turns in each round, so that
what else the machine does disturbs both alike; the peer, which is slower, works off a fifth. The rate leaves out the
first and the last tenth. Prints one JSON object; progress goes to the standard error.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from benchmarks.transport import POOLS, PREFETCH, QUIET, STOCK_SHARE, pace, running, summary
from routemq import Router
from routemq.envelope import Envelope, TaskMessage
from tests.processes import clean_environment
from tests.servers import Redis

QUEUE = "telemetry"
PAYLOAD = b'{"temperature": 21.5, "humidity": 40, "seq": 1234}'


def nothing(device: str, payload: dict[str, Any]) -> None:
    """Do nothing."""


router = Router()
router.on("bench/{device}", nothing, queue=QUEUE)

peer = Celery("peer", broker=os.environ.get("REDIS_URL", ""))
peer.conf.update(
    task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=PREFETCH, task_default_queue=QUEUE
)


@peer.task(name="peer")  # type: ignore[misc]  # Celery has no types
def parse(topic: str, payload: str) -> None:
    """Do what the route does."""
    nothing(topic.partition("/")[2], json.loads(payload))


def fill(store: Redis, side: str, backlog: int) -> None:
    """Put the backlog of one side."""
    (route,) = router.routes
    with store.client() as client, Celery(broker=store.url) as app:
        client.flushall()
        app.send_task("peer", args=["bench/d0", PAYLOAD.decode()], queue=QUEUE)
        pattern = client.rpop(QUEUE)
        pattern_id = json.loads(pattern)["headers"]["id"].encode()

        def item() -> bytes:
            if side == "stock":
                return bytes(pattern.replace(pattern_id, str(uuid.uuid4()).encode()))
            envelope = Envelope(topic="bench/d0", payload=PAYLOAD, received_at=time.time())
            return TaskMessage(route=route.name, queue=QUEUE, envelope=envelope).encode()

        for _ in range(0, backlog, 1000):
            client.lpush(QUEUE, *(item() for _ in range(1000)))


def working(store: Redis, side: str, pool: str, *, events: bool) -> contextlib.AbstractContextManager[psutil.Process]:
    """Run the worker; gives its main process."""
    app = "routemq" if side == "routemq" else "benchmarks.worker:peer"
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", QUEUE, *POOLS[pool], *QUIET]
    command += ["--without-mingle", "--without-gossip", *(["-E"] if events else [])]
    environment = {"REDIS_URL": store.url, "ROUTEMQ_ROUTERS": "benchmarks.worker", "ROUTEMQ_KEY_PREFIX": ""}
    return running(command, clean_environment(environment))


def rate(store: Redis, side: str, pool: str, *, events: bool, backlog: int) -> tuple[float, float]:
    """Return messages per second of one run, and microseconds of the worker's processor time per message."""
    fill(store, side, backlog)
    with store.client() as client:

        def left() -> int:
            with client.pipeline(transaction=True) as pipe:
                pipe.llen(QUEUE)
                pipe.hlen("unacked")
                return sum(pipe.execute())

        with working(store, side, pool, events=events) as worker:
            return pace(worker, left, backlog)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backlog", type=int, default=40_000)
    parser.add_argument("--pools", default="solo,threads,prefork")
    parser.add_argument("--events", action="store_true", help="measure with -E, too")
    chosen = parser.parse_args()
    cases = [
        (f"{pool}{' -E' if events else ''}", pool, events)
        for pool in chosen.pools.split(",")
        for events in ((False, True) if chosen.events else (False,))
    ]
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {"routemq": [], "stock": []} for name, *_ in cases}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        store = Redis(directory=Path(folder) / "redis", append_only=True)
        store.start()
        try:
            for number in range(chosen.rounds):
                for name, pool, events in cases:
                    for side, share in (("routemq", 1), ("stock", STOCK_SHARE)):
                        each = rate(store, side, pool, events=events, backlog=chosen.backlog // share)
                        found[name][side].append(each)
                        print(
                            f"round {number + 1}: {name}, {side}: {each[0]:,.0f} messages/s, "
                            f"{each[1]:.0f} us of processor time each"
                        )
        finally:
            store.stop()
    report: dict[str, dict[str, Any]] = {}
    for name, sides in found.items():
        times = [ours[0] / stock[0] for ours, stock in zip(sides["routemq"], sides["stock"], strict=True)]
        report[name] = {
            side: summary([each[0] for each in runs]) | {"cpu_us_each": round(statistics.median(e[1] for e in runs))}
            for side, runs in sides.items()
        }
        report[name]["times"] = {
            "median": round(statistics.median(times), 1),
            "least": round(min(times), 1),
            "most": round(max(times), 1),
        }
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
