"""The two sides that are compared: which processes each consists of."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from routemq.settings import Settings, variable_of
from routemq.supervision.child import Command
from routemq_dev.bench import naive
from routemq_dev.bench.bench_routes import BATCH_VARIABLE, QUEUE
from routemq_dev.bench.recorder import VARIABLE
from routemq_dev.ports import LOOPBACK

ROUTEMQ, NAIVE = "RouteMQ", "naive bridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerShape:
    """How many workers of which kind.

    Attributes:
        batch: How many messages RouteMQ's controller takes at once; 0 for one, and without a list.
    """

    pool: str
    workers: int
    concurrency: int
    batch: int = 0

    def __str__(self) -> str:
        plural = "s" if self.workers > 1 else ""
        of = "" if self.pool == "solo" else f" of {self.concurrency}"
        batches = f", batches of {self.batch}" if self.batch else ""
        return f"{self.workers} {self.pool} worker{plural}{of}{batches}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two.

    Attributes:
        ingest: What takes messages from the MQTT broker.
        runs: Folder in which its workers note what they ran.
    """

    name: str
    ingest: Command
    workers: tuple[Command, ...]
    runs: Path

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every process of it."""
        return (self.ingest, *self.workers)


def routemq_side(folder: Path, shape: WorkerShape, *, mqtt_port: int, redis_port: int) -> Side:
    """Return the product: `routemq ingest` and `celery -A routemq worker`."""
    runs = folder / "routemq-runs"
    env = {
        **environment(runs, mqtt_port=mqtt_port, redis_url=f"redis://{LOOPBACK}:{redis_port}/0"),
        "MQTT_GROUP_NAME": "bench",
        "ROUTEMQ_ROUTERS": "routemq_dev.bench.bench_routes",
        BATCH_VARIABLE: str(shape.batch or ""),
    }
    ingest = Command(
        name="ingest",
        argv=(sys.executable, "-m", "routemq", "ingest"),
        env=env,
        cwd=folder,
        ready="ingest is ready",
        restart=False,
    )
    return Side(
        name=ROUTEMQ,
        ingest=ingest,
        workers=_workers(shape, ingest, app="routemq", queue=QUEUE, ready=" ready."),
        runs=runs,
    )


def naive_side(folder: Path, shape: WorkerShape, *, mqtt_port: int, redis_port: int) -> Side:
    """Return the peer: the naive bridge and stock workers, in a database of its own."""
    runs = folder / "naive-runs"
    env = environment(runs, mqtt_port=mqtt_port, redis_url=f"redis://{LOOPBACK}:{redis_port}/1")
    ingest = Command(
        name="naive bridge",
        argv=(sys.executable, "-m", naive.__name__),
        env=env,
        cwd=folder,
        ready=naive.READY,
        restart=False,
    )
    return Side(
        name=NAIVE,
        ingest=ingest,
        runs=runs,
        workers=_workers(shape, ingest, app=naive.__name__, queue=naive.QUEUE, ready=naive.READY),
    )


def _workers(shape: WorkerShape, ingest: Command, *, app: str, queue: str, ready: str) -> tuple[Command, ...]:
    options = ("-P", shape.pool, "-c", str(shape.concurrency), "--without-gossip", "--without-mingle")
    return tuple(
        replace(
            ingest,
            name=f"{queue} worker {index}",
            argv=(sys.executable, "-m", "celery", "--quiet", "-A", app, "worker", "-Q", queue,
                  "-n", f"{queue}{index}@%h", *options, "--without-heartbeat"),
            ready=ready,
        )
        for index in range(shape.workers)
    )  # fmt: skip


def environment(runs: Path, *, mqtt_port: int, redis_url: str) -> dict[str, str]:
    """Return what a side's processes are told, with all that this one has configured taken away."""
    # An empty variable counts as not set: nothing of the user's settings reaches the bench.
    nothing = {variable_of(name): "" for name in Settings.model_fields}
    # Celery puts these before what the naive bridge says itself.
    nothing |= dict.fromkeys((name for name in os.environ if name.startswith("CELERY_")), "")
    return {
        **nothing,
        "MQTT_BROKER": LOOPBACK,
        "MQTT_PORT": str(mqtt_port),
        "REDIS_URL": redis_url,
        VARIABLE: str(runs),
    }
