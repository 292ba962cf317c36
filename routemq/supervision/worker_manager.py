"""The supervisor of worker processes: one Celery worker per queue, started, stopped, and restarted when it dies."""

import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

from pydantic import SecretStr

from routemq.queues import expand_queues
from routemq.routing import Router
from routemq.settings import Settings, load_settings, variable_of
from routemq.supervision.processes import Command, ProcessState, Supervisor

logger = logging.getLogger(__name__)

WARM_STOP_S = 20.0
"""How long a worker may finish what it runs before it gives its messages back."""
COLD_STOP_S = 5.0


class SharedRouteInfo(TypedDict):
    """What is told of a shared route."""

    name: str
    topic: str
    mqtt_topic: str
    qos: int
    queue: str
    worker_count: int


class WorkerManager:
    """Runs the Celery workers of an application as real processes.

    Every worker imports the application by itself, so that nothing is shared but the MQTT broker and Redis.

    Args:
        router: The application's routes, as `routemq.discovery.load_router` gives them; they say which queues exist.
        group_name: Group of the shared subscriptions; by default `MQTT_GROUP_NAME`.
        router_directory: Package from which the workers load the routers; by default `ROUTEMQ_ROUTERS`.
        settings: Configuration of the workers; by default the environment and `.env`.
        supervisor: Runs the processes. Given one, other processes may be kept beside the workers, and closing it is its
            owner's; by default the manager has one of its own, which ends with `stop`.
        worker_options: Further arguments for each `celery worker`.
        cwd: Working directory of the workers, the project's folder.
        env: Added to the workers' environment.
    """

    def __init__(
        self,
        router: Router,
        group_name: str | None = None,
        router_directory: str | None = None,
        settings: Settings | None = None,
        *,
        supervisor: Supervisor | None = None,
        worker_options: Sequence[str] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.router = router
        self.settings = settings or load_settings()
        self.group_name = group_name or self.settings.mqtt_group_name
        self.router_directory = router_directory or self.settings.routers
        self.supervisor = supervisor or Supervisor()
        self._owns_supervisor = supervisor is None
        self._worker_options = tuple(worker_options)
        self._cwd = cwd
        self._env = {
            **environment_of(self.settings),
            "MQTT_GROUP_NAME": self.group_name,
            "ROUTEMQ_ROUTERS": self.router_directory,
            **(env or {}),
        }
        self._names: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def workers(self) -> tuple[ProcessState, ...]:
        """A snapshot of every worker process."""
        return tuple(state for state in self.supervisor.states if state.name in self._names)

    def get_shared_routes_info(self) -> list[SharedRouteInfo]:
        """Return the routes whose subscription the ingest workers share."""
        return [
            SharedRouteInfo(
                name=route.name,
                topic=route.template.text,
                mqtt_topic=route.template.filter,
                qos=route.qos,
                queue=route.queue,
                worker_count=route.worker_count,
            )
            for route in self.router.routes
            if route.shared
        ]

    def start_workers(self, num_workers: int | None = None) -> None:
        """Start one worker process per queue; returns at once, see `wait_ready`.

        Args:
            num_workers: Concurrency of all workers together, shared out as the routes' `worker_count` have it, at least
                one for each; by default each worker takes the sum of its routes.

        Raises:
            RuntimeError: They run already.
        """
        if self._names:
            raise RuntimeError("the workers run already; see restart()")
        heads = worker_queues(self.router.queues)
        if not heads:
            logger.info("no routes, no workers")
            return
        hands = dict.fromkeys(heads) if num_workers is None else share_out(num_workers, heads)
        commands = [self._command(queue, concurrency) for queue, concurrency in hands.items()]
        self.supervisor.start(*commands)
        self._names = tuple(command.name for command in commands)
        logger.info("workers started count=%d", len(commands))

    def wait_ready(self, timeout_s: float = 60.0) -> bool:
        """Wait until every worker consumes its queue; False when the time is up."""
        return not self.supervisor.wait_ready(self._names, timeout_s=timeout_s)

    def stop(self) -> None:
        """Stop the workers in peace: each finishes what it runs. Harmless when there are none."""
        self.supervisor.stop(*self._names)
        self._names = ()
        if self._owns_supervisor:
            self.supervisor.close()

    def restart(self) -> None:
        """Stop the workers in peace and start them again, with the application's code as it is then."""
        self.supervisor.restart(*self._names)

    def _command(self, queue: str, concurrency: int | None) -> Command:
        # A node name is expanded (%h is the host), and ends at the first @.
        node = queue.replace("%", "%%").replace("@", "_")
        options = [*self._worker_options]
        if concurrency is not None:
            options += ["--concurrency", str(concurrency)]
        if self.settings.log_level not in ("DEBUG", "INFO"):
            # What says that it serves is a line at INFO.
            options += ["--loglevel", "INFO"]
        return Command(
            name=worker_name(queue),
            argv=(sys.executable, "-m", "celery", "--quiet", "-A", "routemq", "worker", "-Q", queue, "-n", f"{node}@%h",
                  "-E", "--without-gossip", "--without-mingle", *options),
            env=self._env,
            cwd=self._cwd,
            ready=" ready.",
            # The second asks for a cold stop, in which Celery gives back what it holds; what SIGKILL cuts off stays
            # held for the visibility timeout.
            stop_signals=((signal.SIGTERM, WARM_STOP_S), (signal.SIGQUIT, COLD_STOP_S)),
        )  # fmt: skip


def worker_name(queue: str) -> str:
    """Return the name of a queue's worker among the supervisor's processes."""
    return f"worker {queue}"


def worker_queues(queues: Mapping[str, int]) -> dict[str, int]:
    """Return the queues to name to one worker each, with their concurrency.

    The worker of `sensors` also consumes `sensors.data`, so that queue needs no worker of its own.
    """
    heads: dict[str, int] = {}
    for queue in sorted(queues):
        if not any(queue.startswith(head + ".") for head in heads):
            heads[queue] = sum(queues[name] for name in expand_queues([queue], queues))
    return heads


def share_out(hands: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Share `hands` out by weight, at least one for each; the largest remainders get what is left over.

    Raises:
        ValueError: `hands` is less than one.
    """
    if hands < 1:
        raise ValueError(f"num_workers={hands}: use a whole number from 1")
    total = sum(weights.values())
    shares = {name: max(1, hands * weight // total) for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: hands * weights[name] % total, reverse=True)
    for name in by_remainder[: max(0, hands - sum(shares.values()))]:
        shares[name] += 1
    return shares


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the variables that give another process these settings; what was left at its default is left out."""
    environment: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is None:
            continue
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        environment[variable_of(name)] = text
    return environment
