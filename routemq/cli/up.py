"""`routemq up`: everything of one host under one supervisor."""

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from routemq.cli.explain import explains_errors
from routemq.errors import RouteMQError
from routemq.logs import configure_logging
from routemq.settings import Settings, load_settings
from routemq.supervision.child import OnLine
from routemq.supervision.commands import flower_command
from routemq.supervision.loading import read_routes
from routemq.supervision.merged_log import MergedLog
from routemq.supervision.processes import GivenUp, Supervisor
from routemq.supervision.stop import Stop, take_stop_signals
from routemq.supervision.systemd import ServiceNotification
from routemq.supervision.unheld_stream import unheld_stderr
from routemq.supervision.worker_manager import WorkerManager
from routemq.text import plural

logger = logging.getLogger(__name__)

READY = "everything is ready"
_LOOK_EVERY_S = 0.5


class ProcessGivenUpError(RouteMQError):
    """A process dies whenever it is started."""

    def __init__(self, given_up: GivenUp) -> None:
        self.given_up = given_up
        words = "\n".join(f"  {line}" for line in given_up.last_lines)
        super().__init__(
            f"{given_up.name} died {given_up.deaths} times in {given_up.within_s:.0f} s (exit {given_up.exit_code}), "
            f"so everything is stopped. Its last words:\n{words}"
        )


@click.command(short_help="Everything of one host, under one supervisor.")
@click.option(
    "--workers", type=click.IntRange(1, 4096), metavar="N",
    help="Concurrency of all Celery workers together, shared out as the routes' worker_count have it.",
)  # fmt: skip
@click.option(
    "--ingest", "ingest_workers", type=click.IntRange(0, 64), help="Ingest processes; default INGEST_WORKERS."
)
@click.option(
    "--pool", type=click.Choice(["prefork", "threads", "solo", "gevent"]), help="Celery's pool for the workers."
)
@click.option("--flower/--no-flower", default=False, help="Run Flower too; it reads FLOWER_… by itself.")
@explains_errors
@unheld_stderr()
def up(*, workers: int | None, ingest_workers: int | None, pool: str | None, flower: bool) -> None:
    """Run ingest and a Celery worker per queue on this host, and restart what dies.

    Start it in the project's folder, from a terminal or under systemd (Type=notify). SIGTERM or Ctrl-C stops ingest
    first, then the workers finish what they run, within SHUTDOWN_GRACE_S; a second Ctrl-C kills.

    Exit code 0 after a stop, 1 when a process dies five times in a minute, 2 for a wrong setting.
    """
    settings = load_settings()
    # Not imported here: this process holds nothing of the application, and lives as long as the host.
    router = read_routes(Path.cwd(), os.environ)
    with Supervisor(_merged_log(settings), gives_up=True) as supervisor:
        manager = WorkerManager(
            router,
            settings=settings,
            ingest_workers=ingest_workers,
            supervisor=supervisor,
            worker_options=("--pool", pool) if pool else (),
        )
        stopping = _stop_on_signals(supervisor)
        systemd = ServiceNotification()
        try:
            manager.start_workers(workers)
            if flower:
                supervisor.start(flower_command())
            _stay(supervisor, stopping, systemd)
        finally:
            systemd.stopping()
            logger.info("stopping, within %g s", settings.shutdown_grace_s)
            manager.stop_workers()
    logger.info("stopped")


def _merged_log(settings: Settings) -> OnLine:
    """Return what shows every line: short and folded to a person, whole to what collects it."""
    if not sys.stderr.isatty():
        configure_logging(settings)
        return MergedLog(sys.stderr).line
    from rich.console import Console

    from routemq.supervision.terminal_log import TerminalLog, TerminalLogHandler

    log = TerminalLog(
        Console(stderr=True, highlight=False), level=settings.log_level, own_name="up", lines_per_second=None
    )
    logging.basicConfig(level=settings.log_level, handlers=[TerminalLogHandler(log)], force=True)
    return log.line


def _stay(supervisor: Supervisor, stopping: Stop, systemd: ServiceNotification) -> None:
    """Watch until somebody asks for the end.

    Raises:
        ProcessGivenUpError: A process dies whenever it is started.
    """
    announced = False
    while not stopping.wait(_LOOK_EVERY_S):
        if supervisor.given_up is not None:
            raise ProcessGivenUpError(supervisor.given_up)
        states = supervisor.states
        if not announced and all(state.ready for state in states):
            announced = True
            logger.info("%s processes=%d", READY, len(states))
            systemd.ready(plural(len(states), "process", "processes"))
        systemd.alive()


def _stop_on_signals(supervisor: Supervisor) -> Stop:
    stopping, killing = Stop(), Stop()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            killing.set()
        stopping.set()

    killing.then(supervisor.kill)
    take_stop_signals(on_signal)
    return stopping
