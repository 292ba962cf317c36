"""`routemq ingest`: MQTT in, Celery messages out."""

import contextlib
import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click
import redis
from routemq_ingest.broker_drops import BrokerDrops
from routemq_ingest.memory import MOST_PROCESSES, left_behind
from routemq_ingest.named_worker import NamedWorker
from routemq_ingest.worker import READY, IngestWorker

from routemq.cli.explain import explains_errors
from routemq.connections import connect_redis
from routemq.discovery import load_router
from routemq.logs import configure_logging
from routemq.queues import Keys
from routemq.settings import Settings, load_settings
from routemq.supervision.commands import ingest_command
from routemq.supervision.merged_log import MergedLog
from routemq.supervision.processes import Supervisor
from routemq.supervision.stop import STOP_SIGNALS, Stop, ignore_stop_signals
from routemq.supervision.systemd import ServiceNotification, ServiceWatch, is_service
from routemq.supervision.unheld_stream import unheld_stderr
from routemq.text import plural

if TYPE_CHECKING:
    from routemq.metrics.http import HealthServer

logger = logging.getLogger(__name__)

_READY_TIMEOUT_S = 3600.0


@click.command(short_help="MQTT in, Celery messages out; on as many hosts as you like.")
@click.option(
    "--workers", type=click.IntRange(1, MOST_PROCESSES), help="Processes on this host; by default INGEST_WORKERS."
)
@click.option(
    "--index", type=click.IntRange(0, MOST_PROCESSES - 1),
    help="Be this one of the processes alone, the first is 0; to drain one that is too many.",
)  # fmt: skip
@explains_errors
def ingest(workers: int | None, index: int | None) -> None:
    """Subscribe to the topics of all routes and put each message on its queue.

    A message is acknowledged to the MQTT broker only after Redis has it. SIGTERM or Ctrl-C stops in peace: what was
    read is queued and acknowledged, and the MQTT broker keeps what comes meanwhile for the next start.
    With INGEST_DRAIN_ON_EXIT=true the process leaves its group for good, and leaves no message behind.

    Exit code 0 after a stop, 1 when it cannot work, 2 for a wrong setting.
    """
    settings = load_settings()
    configure_logging(settings)
    count = workers or settings.ingest_workers
    if index is None and not settings.has_leased_client_ids:
        # Aside, for Redis, or a name server on the way to it, may let one wait.
        threading.Thread(target=_warn_of_sessions_left_behind, args=(settings, count), daemon=True).start()
    if index is not None or count == 1:
        _run_one(settings, index or 0)
    else:
        _run_many(settings, count)


def _warn_of_sessions_left_behind(settings: Settings, count: int) -> None:
    with connect_redis(settings, timeout_s=1.0) as client:
        try:
            found = left_behind(
                client, Keys(settings.key_prefix), client_id_base=settings.client_id_base, processes=count
            )
        except redis.RedisError as exc:
            logger.debug("sessions left behind are not looked for: %s", exc)
            return
    for index in found:
        logger.warning(
            "an ingest process that is not started any more left its mqtt session behind, the broker may hold messages "
            "for it; to take them: INGEST_DRAIN_ON_EXIT=true routemq ingest --index %d, and stop it when it is ready",
            index,
        )


def _run_one(settings: Settings, index: int) -> None:
    router = load_router(settings.routers)
    worker: IngestWorker | NamedWorker
    worker = (
        NamedWorker(settings, router) if settings.has_leased_client_ids else IngestWorker(settings, router, index=index)
    )
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: worker.stop())
    with contextlib.ExitStack() as stack:
        if is_service():
            stack.enter_context(ServiceWatch(lambda: worker.health))
        if settings.ingest_health_port is not None:
            port = settings.ingest_health_port + index
            drops = stack.enter_context(BrokerDrops(settings))
            stack.enter_context(_health_server(port, worker, drops))
        worker.run()
    ignore_stop_signals()


def _health_server(port: int, worker: IngestWorker | NamedWorker, drops: BrokerDrops) -> "HealthServer":
    from routemq_ingest.ingest_metrics import IngestMetrics

    from routemq.metrics.http import HealthServer

    metrics = IngestMetrics(lambda: worker.health, lambda: drops.count)
    return HealthServer.on(port, lambda: worker.health, metrics, variable="INGEST_HEALTH_PORT")


@unheld_stderr()
def _run_many(settings: Settings, count: int) -> None:
    configure_logging(settings)
    load_router(settings.routers)  # what every process would die of is said once, here
    stopping = Stop.on(*STOP_SIGNALS)
    several = {"INGEST_WORKERS": str(count)}  # so that each knows from the start that it is one of many
    commands = [ingest_command(index, settings, env=several) for index in range(count)]
    with Supervisor(on_line=MergedLog(sys.stderr).line) as supervisor:
        supervisor.start(*commands)
        names = [command.name for command in commands]
        late = supervisor.wait_ready(names, timeout_s=_READY_TIMEOUT_S, cancelled=stopping.is_set)
        systemd = ServiceNotification()
        if not late:
            logger.info("%s processes=%d", READY, count)
            systemd.ready(plural(count, "process", "processes"))
        while not stopping.wait(1.0):
            systemd.alive()
        systemd.stopping()
        supervisor.stop(*names)
    ignore_stop_signals()
