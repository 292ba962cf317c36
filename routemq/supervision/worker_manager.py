"""The processes of one host: ingest, and one Celery worker per queue; started, watched, restarted and stopped.

Longer than other files: most of it is the public interface of `WorkerManager`, said in full.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypedDict

from routemq.errors import RouteMQError
from routemq.metrics.process_memory import tree_memory_bytes
from routemq.queues import FALLBACK_QUEUE, expand_queues
from routemq.routing import Router
from routemq.settings import Settings, load_settings
from routemq.supervision.child import Command
from routemq.supervision.commands import environment_of, ingest_command, worker_command, worker_name
from routemq.supervision.loading import BrokenApplicationError, read_queues
from routemq.supervision.processes import ProcessState, Supervisor
from routemq.supervision.shares import share_out, worker_queues

logger = logging.getLogger(__name__)

OWN_TASKS = "own-tasks"
"""Stands for the queues of the application's own Celery tasks."""


class SharedRouteInfo(TypedDict):
    """What is told of a shared route."""

    name: str
    topic: str
    mqtt_topic: str
    qos: int
    queue: str
    worker_count: int


class WorkerStats(TypedDict):
    """What is told of a process, at one moment.

    `memory_bytes` is the proportional set size of the process and all that it started, where the system tells it, else
    the resident one; None when it is not alive. `concurrency` is how many messages a worker runs at once.
    """

    name: str
    kind: Literal["ingest", "worker"]
    pid: int
    alive: bool
    ready: bool
    restarts: int
    exit_code: int | None
    queue: str | None
    concurrency: int | None
    uptime_s: float
    memory_bytes: int | None


class UnknownWorkerError(RouteMQError):
    """There is no process of this name, and no queue either."""

    def __init__(self, *, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"no process is called {name!r}; there are: {', '.join(known) or 'none'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """What a process was started as; ingest has no queue."""

    queue: str | None = None
    concurrency: int | None = None


class WorkerProcess:
    """One process of a `WorkerManager`, as it is whenever it is asked: a restart gives it another `pid`."""

    def __init__(self, name: str, supervisor: Supervisor) -> None:
        self.name = name
        self._supervisor = supervisor

    def __repr__(self) -> str:
        state = self._state
        return f"<WorkerProcess {self.name!r} {'stopped' if state is None else state.pid}>"

    @property
    def _state(self) -> ProcessState | None:
        return next((state for state in self._supervisor.states if state.name == self.name), None)

    @property
    def pid(self) -> int | None:
        """Process id of the latest start; None when it was stopped."""
        state = self._state
        return None if state is None else state.pid

    @property
    def exitcode(self) -> int | None:
        """Exit code of the latest death, negative for a signal; None when it has not died."""
        state = self._state
        return None if state is None else state.exit_code

    def is_alive(self) -> bool:
        """Return whether it runs now."""
        state = self._state
        return state is not None and state.alive


class WorkerManager:
    """Runs an application's ingest processes and its Celery workers as real processes.

    Each imports the application by itself, so that nothing is shared but the MQTT broker and Redis. What dies is
    started again; when the manager's own process is killed, they end as well.

    Args:
        router: The application's routes, as `routemq.discovery.load_router` gives them; they say which queues exist.
        group_name: Group of the shared subscriptions; by default `MQTT_GROUP_NAME`.
        router_directory: Package from which the processes load the routers; by default `ROUTEMQ_ROUTERS`.
        settings: Configuration of the processes; by default the environment and `.env`.
        ingest_workers: How many ingest processes; by default `INGEST_WORKERS`, and 0 for workers alone.
        supervisor: Runs the processes. Given one, other processes may be kept beside these, and closing it is its
            owner's; by default the manager has one of its own, which ends with `stop_workers`.
        worker_options: Further arguments for each `celery worker`.
        cwd: Working directory of the processes, the project's folder.
        env: Added to their environment.
    """

    def __init__(
        self,
        router: Router,
        group_name: str | None = None,
        router_directory: str | None = None,
        settings: Settings | None = None,
        *,
        ingest_workers: int | None = None,
        supervisor: Supervisor | None = None,
        worker_options: Sequence[str] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.router = router
        self.settings = settings or load_settings()
        self.group_name = group_name or self.settings.mqtt_group_name
        self.router_directory = router_directory or self.settings.routers
        self.ingest_workers = self.settings.ingest_workers if ingest_workers is None else ingest_workers
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
        self._started: dict[str, _Started] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_workers()

    @property
    def workers(self) -> tuple[WorkerProcess, ...]:
        """Every process that was started and not stopped."""
        return tuple(WorkerProcess(name, self.supervisor) for name in self._started)

    def get_shared_routes_info(self) -> list[SharedRouteInfo]:
        """Return the routes whose subscription the ingest processes share."""
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

    def get_worker_count(self) -> int:
        """Return how many processes are alive."""
        return sum(worker.is_alive() for worker in self.workers)

    def get_worker_stats(self) -> list[WorkerStats]:
        """Return how each process is now."""
        states = {state.name: state for state in self.supervisor.states}
        return [
            WorkerStats(
                name=name,
                kind="ingest" if started.queue is None else "worker",
                pid=state.pid,
                alive=state.alive,
                ready=state.ready,
                restarts=state.restarts,
                exit_code=state.exit_code,
                queue=started.queue,
                concurrency=started.concurrency,
                uptime_s=max(0.0, time.monotonic() - state.started_at),
                memory_bytes=tree_memory_bytes(state.pid) if state.alive else None,
            )
            for name, started in self._started.items()
            if (state := states.get(name)) is not None
        ]

    def start_workers(self, num_workers: int | None = None) -> None:
        """Start the ingest processes and one Celery worker per queue; returns at once, see `wait_ready`.

        Args:
            num_workers: Concurrency of all Celery workers together, shared out as the routes' `worker_count` have it,
                at least one for each; by default each worker takes the sum of its routes.

        Raises:
            RuntimeError: They run already.
        """
        if self._started:
            raise RuntimeError("the workers run already; see restart_worker() and stop_workers()")
        heads = worker_queues(self.router.queues)
        if not heads:
            logger.info("no routes, no workers")
            return
        hands = heads if num_workers is None else share_out(num_workers, heads)
        # Workers first: they are there when ingest queues for them.
        for queue in heads:
            self._start(queue, hands[queue], None if num_workers is None else hands[queue])
        if self.settings.task_modules and self._has_queues_beside(heads):
            # Their queues are known to Celery's processes alone.
            self._start(OWN_TASKS, 1, None, all_but=list(heads))
        for index in range(self.ingest_workers):
            self._start_ingest(index)
        logger.info("workers started count=%d", len(self._started))

    def start_single_worker(self, queue: str, concurrency: int | None = None) -> WorkerProcess:
        """Start the worker of one queue, and of those under it.

        Args:
            concurrency: Messages at once; by default the sum of its routes' `worker_count`.

        Raises:
            UnknownQueueError: No route uses it.
            RuntimeError: It runs already.
        """
        hands = sum(self.router.queues[name] for name in expand_queues([queue], self.router.queues))
        if worker_name(queue) in self._started:
            raise RuntimeError(f"the worker of the queue {queue!r} runs already; see restart_worker()")
        return self._start(queue, concurrency or hands, concurrency)

    def restart_worker(self, name: str) -> WorkerProcess:
        """Stop a process in peace and start it again, with the application's code as it is then.

        Args:
            name: Of a queue, or as `workers` says it.

        Raises:
            UnknownWorkerError: It was not started.
        """
        found = next((known for known in (name, worker_name(name)) if known in self._started), None)
        if found is None:
            raise UnknownWorkerError(name=name, known=list(self._started))
        self.supervisor.restart(found)
        return WorkerProcess(found, self.supervisor)

    def wait_ready(self, timeout_s: float = 60.0) -> bool:
        """Wait until every process serves; False when the time is up."""
        return not self.supervisor.wait_ready(tuple(self._started), timeout_s=timeout_s)

    def stop_workers(self) -> None:
        """Stop everything in peace within `SHUTDOWN_GRACE_S`: first what brings messages, then what runs them.

        A worker finishes what it runs, and gives back what it cannot finish. Harmless when nothing runs.
        """
        deadline = time.monotonic() + self.settings.shutdown_grace_s
        ingest = [name for name, started in self._started.items() if started.queue is None]
        # What drains its session takes the time that it needs.
        self.supervisor.stop(
            *ingest, within_s=None if self.settings.ingest_drain_on_exit else self.settings.shutdown_grace_s
        )
        workers = [name for name in self._started if name not in ingest]
        self.supervisor.stop(*workers, within_s=max(0.0, deadline - time.monotonic()))
        self._started.clear()
        if self._owns_supervisor:
            self.supervisor.close()

    def _has_queues_beside(self, heads: Mapping[str, int]) -> bool:
        """Whether the application's own tasks have a queue that no route's worker consumes anyway."""
        if FALLBACK_QUEUE not in heads:
            # Where every task waits that names no queue.
            return True
        try:
            queues = read_queues(self._cwd or Path.cwd(), {**os.environ, **self._env})
        except BrokenApplicationError as exc:
            logger.error("the queues of the application's own tasks are not known: %s", exc)
            return True
        return bool(set(queues) - set(expand_queues(heads, queues)))

    def _start(self, queue: str, hands: int, concurrency: int | None, *, all_but: Sequence[str] = ()) -> WorkerProcess:
        env = self._env
        if self.settings.worker_health_port is not None:
            # They are on one host: each has a port of its own.
            workers = sum(started.queue is not None for started in self._started.values())
            env = env | {"WORKER_HEALTH_PORT": str(self.settings.worker_health_port + workers)}
        command = worker_command(
            queue, concurrency, self.settings,
            options=self._worker_options, env=env, cwd=self._cwd, all_but=all_but,
        )  # fmt: skip
        return self._run(command, _Started(queue=queue, concurrency=hands))

    def _start_ingest(self, index: int) -> None:
        command = ingest_command(index, self.settings, env=self._env, cwd=self._cwd)
        self._run(command, _Started())

    def _run(self, command: Command, started: _Started) -> WorkerProcess:
        self.supervisor.start(command)
        self._started[command.name] = started
        return WorkerProcess(command.name, self.supervisor)
