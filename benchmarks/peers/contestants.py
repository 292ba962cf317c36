"""Who takes part, and how each is set up: as its own documentation recommends for speed.

Two slots each: two processes that run functions. What one of them does at a time is its own affair.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis
from routemq_dev.bench import bench_routes
from routemq_dev.bench.side import Side, WorkerShape, environment, routemq_side
from routemq_dev.ports import LOOPBACK

from routemq.envelope import Envelope, TaskMessage
from routemq.supervision.child import Command

PROGRAMS = Path(__file__).parent / "programs"
READY = "peer is ready"
STOP_S = 3.0

# What all of them have in their environments besides themselves.
CLIENTS = ("orjson==3.13.0", "paho-mqtt==2.2.0")
REDIS = "redis[hiredis]==8.1.0"
CELERY = ("celery[redis]==5.7.0", REDIS, *CLIENTS)

# https://docs.celeryq.dev/en/stable/userguide/optimizing.html#prefetch-limits: 64 or 128 where there are many short
# tasks. Acknowledged after the run, as by all others here; the naive bridge has Celery's own defaults.
CELERY_FOR_SHORT_TASKS = {"task_acks_late": True, "worker_prefetch_multiplier": 64}
# https://oliverhaas.github.io/celery-redis-plus/configuration/
PLUS = CELERY_FOR_SHORT_TASKS | {"broker_transport": "celery_redis_plus.transport:Transport"}

CELERY_WORKER = (
    "celery", "--quiet", "-A", "with_celery", "worker", "-l", "WARNING", "--without-gossip", "--without-mingle",
    "--without-heartbeat",
)  # fmt: skip
PREFORK = ((*CELERY_WORKER, "-P", "prefork", "-c", "2"),)
SOLO = tuple((*CELERY_WORKER, "-P", "solo", "-n", f"{number}@%h") for number in (1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table.

    Attributes:
        title: What the row is called.
        packages: Pinned, of an environment of its own; none: it runs in this one.
        python: The oldest minor release of Python 3 that it runs on.
        module: Its program, which puts messages; None: it has no queue, and is its own bridge.
        workers: Their command lines, each beginning with a program of its environment.
        settings: What the program is told.
        shape: Our workers, run as our users run them; None for all others.
        variables: Further ones of its environment.
        ready: What its workers say when they serve; None: they say nothing.
        guess_per_s: How many messages a second it may run, until that is known.
    """

    title: str
    packages: tuple[str, ...] = ()
    python: int = 11
    module: str | None = None
    workers: Sequence[tuple[str, ...]] = ()
    settings: str = ""
    shape: WorkerShape | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None
    guess_per_s: int = 1_500

    @property
    def has_queue(self) -> bool:
        """Whether its workers can be measured alone."""
        return self.shape is not None or self.module is not None

    def side(self, folder: Path, bin_folder: Path, *, mqtt_port: int, redis_port: int) -> Side:
        """Return its processes."""
        if self.shape is not None:
            return routemq_side(folder, self.shape, mqtt_port=mqtt_port, redis_port=redis_port)
        runs = folder / "runs"
        url = f"redis://{LOOPBACK}:{redis_port}/0"
        env = {name: text for name, text in environment(runs, mqtt_port=mqtt_port, redis_url=url).items() if text}
        env |= {"PYTHONPATH": f"{PROGRAMS}:{folder}", "SETTINGS": self.settings, **self.variables}
        commands = [
            Command(
                name=f"{argv[0]} {number}",
                argv=(str(bin_folder / argv[0]), *argv[1:]),
                env=env,
                cwd=folder,
                ready=self.ready,
                stop_signals=((signal.SIGTERM, STOP_S),),
                restart=False,
            )
            for number, argv in enumerate(self.workers, 1)
        ]
        if self.module is None:
            return Side(name=self.title, ingest=commands[0], workers=tuple(commands[1:]), runs=runs)
        bridge = replace(
            commands[0],
            name="bridge",
            argv=(str(bin_folder / "python"), str(PROGRAMS / "feed.py"), self.module, "bridge"),
            ready=READY,
        )
        return Side(name=self.title, ingest=bridge, workers=tuple(commands), runs=runs)

    def fill(self, side: Side, messages: Sequence[tuple[str, str]]) -> None:
        """Put messages into its queue by its own client."""
        if self.shape is not None:
            fill_ours(side.ingest.env["REDIS_URL"], messages)
            return
        argv = [*side.ingest.argv[:-1], "fill"]
        text = "".join(f"{topic} {payload}\n" for topic, payload in messages)
        subprocess.run(
            argv, input=text, encoding="utf-8", cwd=side.ingest.cwd, env={**os.environ, **side.ingest.env}, check=True
        )


def fill_ours(url: str, messages: Sequence[tuple[str, str]]) -> None:
    """Put what ingest would put."""
    (route,) = bench_routes.router.routes
    with redis.Redis.from_url(url) as client:
        for start in range(0, len(messages), 1000):
            client.lpush(
                bench_routes.QUEUE,
                *(
                    TaskMessage(
                        route=route.name,
                        queue=bench_routes.QUEUE,
                        envelope=Envelope(topic=topic, payload=payload.encode(), received_at=time.time()),
                    ).encode()
                    for topic, payload in messages[start : start + 1000]
                ),
            )


def celery(title: str, workers: Sequence[tuple[str, ...]], settings: Mapping[str, object]) -> Contestant:
    """Return one that is Celery, in this environment, with its own transport."""
    return Contestant(title=title, module="with_celery", workers=workers, settings=json.dumps(settings))


def plus(title: str, workers: Sequence[tuple[str, ...]]) -> Contestant:
    """Return one that is Celery with the nearest rival of our transport."""
    packages = ("celery-redis-plus[hiredis]==0.4.1", "celery==5.7.0", *CLIENTS)
    return Contestant(
        title=title, packages=packages, python=13, module="with_celery", workers=workers, settings=json.dumps(PLUS)
    )


def taskiq(kind: str) -> Contestant:
    """Return one that is taskiq, over a list or a stream."""
    return Contestant(
        title=f"taskiq, {kind}",
        # https://taskiq-python.github.io/guide/cli.html: `--no-parse` where no parameter is converted.
        packages=("taskiq[orjson,uv]==0.13.0", "taskiq-redis==1.2.4", REDIS, *CLIENTS),
        module="with_taskiq",
        settings=kind,
        workers=[
            ("taskiq", "worker", "with_taskiq:broker", "--workers", "2", "--no-parse", "--log-level", "WARNING",
             "--max-prefetch", "100"),
        ],
    )  # fmt: skip


CONTESTANTS: Mapping[str, Contestant] = {
    "routemq-solo": Contestant(
        title="RouteMQ, 2 solo",
        shape=WorkerShape(pool="solo", workers=2, concurrency=1),
        guess_per_s=15_000,
    ),
    "routemq-prefork": Contestant(
        title="RouteMQ, prefork 2",
        shape=WorkerShape(pool="prefork", workers=1, concurrency=2),
        guess_per_s=4_000,
    ),
    "naive": celery("naive bridge, prefork 2", PREFORK, {}),
    "celery-solo": celery("Celery, 2 solo", SOLO, CELERY_FOR_SHORT_TASKS),
    "celery-prefork": celery("Celery, prefork 2", PREFORK, CELERY_FOR_SHORT_TASKS),
    "plus-solo": plus("celery-redis-plus, 2 solo", SOLO),
    "plus-prefork": plus("celery-redis-plus, prefork 2", PREFORK),
    "taskiq-list": taskiq("list"),
    "taskiq-stream": taskiq("stream"),
    "dramatiq": Contestant(
        title="dramatiq",
        packages=("dramatiq[redis]==2.2.1", REDIS, *CLIENTS),
        module="with_dramatiq",
        # https://dramatiq.io/guide.html#workers: processes for what needs the processor, threads for what waits.
        workers=[("dramatiq", "with_dramatiq", "--processes", "2", "--threads", "8")],
    ),
    "potatoq": Contestant(
        title="potatoq",
        packages=("potatoq[redis]==26.1a8", REDIS, *CLIENTS),
        module="with_potatoq",
        # No child is replaced, as with all others here.
        workers=[("potatoq", "-A", "with_potatoq", "worker", "-c", "2", "-l", "WARNING", "--max-tasks-per-child", "0")],
    ),
    "mayu": Contestant(
        title="mayu",
        packages=("mayu==0.2.5", *CLIENTS),
        python=13,
        module="with_mayu",
        # Processes, since this Python has its lock; more in hand than its default of 2 for short tasks.
        workers=[
            ("mayu", "worker", "with_mayu:app", "--mode", "process", "--processes", "2", "--prefetch-multiplier", "64",
             "--log-level", "WARNING"),
        ],
    ),
    "faststream": Contestant(
        title="FastStream, MQTT",
        packages=("faststream[mqtt,cli]==0.7.8", "uvloop==0.23.0", *CLIENTS),
        workers=[("faststream", "run", "with_faststream:app"), ("faststream", "run", "with_faststream:app")],
        ready=READY,
    ),
    "public-routemq": Contestant(
        title="routemq 0.25 of the public index",
        # It imports greenlet without asking for it.
        packages=("routemq==0.25.0", "greenlet==3.5.6", *CLIENTS),
        python=12,
        workers=[("routemq", "run")],
        variables={
            "ENABLE_REDIS": "false", "ENABLE_MYSQL": "false", "MQTT_GROUP_NAME": "peers", "LOG_LEVEL": "WARNING",
        },
    ),
}  # fmt: skip
