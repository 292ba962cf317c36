"""The processes of a RouteMQ host, as the supervisor starts them."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from routemq.settings import Settings, variable_of
from routemq.supervision.child import Command
from routemq.value_files import SUFFIX

INGEST_READY = "ingest is ready"
"""Begins the log line by which an ingest process says that everything is subscribed."""

COLD_STOP_S = 5.0
"""How long a worker has for giving back what it could not finish."""

_INGEST_STOP_S = 20.0
_INGEST_DRAIN_S = 75.0
"""A drain takes as long as the MQTT broker has messages for the process."""
_FLOWER_STOP_S = 5.0


def ingest_command(
    index: int, settings: Settings, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Command:
    """Return how the ingest process of this number is started and stopped."""
    return Command(
        name=ingest_name(index),
        argv=(sys.executable, "-m", "routemq", "ingest", "--index", str(index)),
        env={**_speaking(settings), **(env or {})},
        cwd=cwd,
        ready=INGEST_READY,
        stop_signals=((signal.SIGTERM, _INGEST_DRAIN_S if settings.ingest_drain_on_exit else _INGEST_STOP_S),),
    )


def worker_command(
    queue: str,
    concurrency: int | None,
    settings: Settings,
    *,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    all_but: Sequence[str] = (),
) -> Command:
    """Return how the Celery worker of a queue, and of those under it, is started and stopped.

    Args:
        concurrency: Messages at once; None: the sum of the routes' `worker_count`.
        options: Further arguments of `celery worker`.
        all_but: Serve all queues but these, and let `queue` be no more than the worker's name.
    """
    # A node name is expanded (%h is the host), and ends at the first @.
    node = queue.replace("%", "%%").replace("@", "_")
    more = [*options]
    if concurrency is not None:
        more += ["--concurrency", str(concurrency)]
    if settings.log_level not in ("DEBUG", "INFO"):
        # What says that it serves is a line at INFO.
        more += ["--loglevel", "INFO"]
    served = ("-X", ",".join(all_but)) if all_but else ("-Q", queue)
    return Command(
        name=worker_name(queue),
        argv=(sys.executable, "-m", "celery", "--quiet", "-A", "routemq", "worker", *served, "-n", f"{node}@%h",
              "-E", "--without-gossip", "--without-mingle", *more),
        # The limit is kept here: within it all processes end, one after the other.
        env={**(env or {}), "SHUTDOWN_GRACE_S": "", "SHUTDOWN_GRACE_S" + SUFFIX: ""},
        cwd=cwd,
        ready=" ready.",
        # The second asks for a cold stop, in which Celery gives back what it holds; what SIGKILL cuts off stays
        # held for the visibility timeout.
        stop_signals=((signal.SIGTERM, settings.shutdown_grace_s), (signal.SIGQUIT, COLD_STOP_S)),
    )  # fmt: skip


def flower_command(
    *options: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, name: str = "flower"
) -> Command:
    """Return how Flower is started and stopped; it reads `FLOWER_…` by itself."""
    return Command(
        name=name,
        argv=(sys.executable, "-m", "celery", "-A", "routemq", "flower", *options),
        env=env or {},
        cwd=cwd,
        ready="Visit me at",
        stop_signals=((signal.SIGTERM, _FLOWER_STOP_S),),
    )


def ingest_name(index: int) -> str:
    """Return the name of an ingest process among the supervisor's processes."""
    return f"ingest {index}"


def is_ingest(name: str) -> bool:
    """Return whether a process of the supervisor is called as an ingest process is."""
    return name.startswith("ingest ")


def worker_name(queue: str) -> str:
    """Return the name of a queue's worker among the supervisor's processes."""
    return f"worker {queue}"


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the variables that give another process these settings; what was left at its default is left out."""
    environment: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is None:
            continue
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        environment[variable_of(name)] = text
        # A file that the value came from, or that is named for the next process, must not stand beside it.
        environment[variable_of(name) + SUFFIX] = ""
    return environment


def _speaking(settings: Settings) -> dict[str, str]:
    # What says that it serves is a line at INFO.
    return {} if settings.log_level in ("DEBUG", "INFO") else {"ROUTEMQ_LOG_LEVEL": "INFO"}
