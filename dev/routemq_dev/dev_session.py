"""Everything that `routemq dev` runs, from its start to its stop."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routemq.errors import RouteMQError
from routemq.routing import Router
from routemq.settings import Settings, load_settings
from routemq.supervision.child import Command
from routemq.supervision.commands import flower_command
from routemq.supervision.loading import read_rows, router_of
from routemq.supervision.processes import Supervisor
from routemq.supervision.stop import Stop
from routemq.supervision.terminal_log import TerminalLog
from routemq.supervision.worker_manager import WorkerManager
from routemq_dev.configured_servers import check_configured_broker, check_configured_redis
from routemq_dev.ports import LOOPBACK, choose_port
from routemq_dev.servers import MQTT_SERVER, REDIS_SERVER, mqtt_broker, redis_server

FLOWER, FLEET = "flower", "fleet"

_SERVERS_START_S = 30.0
_WORK_STARTS_S = 90.0


class NotStartedError(RouteMQError):
    """Some processes do not serve."""

    def __init__(self, *, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"these do not start: {', '.join(names)}; what they say stands above")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """What `routemq dev` was asked for.

    Attributes:
        project: The application's folder, and the working directory of every process.
        state: Where the servers keep their data.
        mqtt_port: Of the MQTT broker that is brought along; None takes the default one, or a free one.
        redis_port: Of the Redis that is brought along, likewise.
        flower_port: Of Flower, likewise.
        flower: Whether there is a Flower.
        rate: Messages per second of the simulated fleet; None: there is none.
    """

    project: Path
    state: Path
    mqtt_port: int | None = None
    redis_port: int | None = None
    flower_port: int | None = None
    flower: bool = True
    rate: float | None = None


@dataclass(slots=True)
class DevSession:
    """The processes of one `routemq dev`.

    Attributes:
        env: What the processes get beyond this process's environment: where the servers are.
        examples: Route → a payload that its controller takes.
        stopping: Set it, and a start that is under way gives up.
    """

    options: DevOptions
    log: TerminalLog
    supervisor: Supervisor
    env: dict[str, str] = field(default_factory=dict)
    router: Router = field(default_factory=Router)
    examples: dict[str, str] = field(default_factory=dict)
    stopping: Stop = field(default_factory=Stop)
    flower_url: str | None = None
    broker_is: str = ""
    redis_is: str = ""
    _workers: WorkerManager | None = None

    def start(self) -> None:
        """Start everything, in the order of need, and return when it serves.

        Raises:
            RouteMQError: The application or a configured server cannot be used, or something does not start.
        """
        self.log.quiet = True
        settings = load_settings()
        self._take(read_rows(self.options.project, os.environ))
        servers = [*self._broker(settings), *self._redis(settings)]
        self.supervisor.start(*servers)
        self._wait([command.name for command in servers], timeout_s=_SERVERS_START_S)
        if self.options.flower:
            self.supervisor.start(self._flower())
        self._start_workers()
        names = [state.name for state in self.supervisor.states]
        self._wait(names, timeout_s=_WORK_STARTS_S)
        self.log.quiet = False
        if self.options.rate is not None and not self.stopping.is_set():
            self.supervisor.start(self._fleet(self.options.rate))

    def reload(self) -> None:
        """Load the application anew, and then start ingest and the workers with it.

        Raises:
            BrokenApplicationError: It cannot be loaded; what runs was left as it is.
        """
        self._take(read_rows(self.options.project, {**os.environ, **self.env}))
        self.log.quiet = True
        if self._workers is not None:
            self._workers.stop_workers()
        if self.stopping.is_set():
            return
        self._start_workers()
        self._wait([state.name for state in self.supervisor.states if state.name != FLEET], timeout_s=_WORK_STARTS_S)
        self.log.quiet = False

    def stop_fleet(self) -> None:
        """Stop the simulated fleet, after the last confirmation."""
        self.supervisor.stop(FLEET)

    def stop_work(self) -> None:
        """Stop what brings and runs messages, in peace: first what brings them."""
        self.log.quiet = True
        self.supervisor.stop(FLEET)
        if self._workers is not None:
            self._workers.stop_workers()
        self.supervisor.stop(FLOWER)

    def stop(self) -> None:
        """Stop everything, in peace, the servers last."""
        self.stop_work()
        self.supervisor.stop(MQTT_SERVER, REDIS_SERVER)

    def _take(self, rows: list[dict[str, Any]]) -> None:
        self.router, self.examples = router_of(rows), {row["name"]: row["example"] for row in rows}

    def _broker(self, settings: Settings) -> list[Command]:
        if "mqtt_broker" in settings.model_fields_set:
            check_configured_broker(settings)
            self.broker_is = f"{settings.mqtt_broker}:{settings.mqtt_port} (MQTT_BROKER)"
            return []
        port = choose_port(
            settings.mqtt_port, asked=self.options.mqtt_port, what="the MQTT broker", option="--mqtt-port"
        )
        label, command = mqtt_broker(self.options.state, port)
        self.env |= {
            "MQTT_BROKER": LOOPBACK, "MQTT_PORT": str(port), "MQTT_TLS_ENABLED": "false", "MQTT_USERNAME": "",
            "MQTT_PASSWORD": "",
        }  # fmt: skip
        self.broker_is = f"{LOOPBACK}:{port} ({label}{_instead(settings.mqtt_port, port, self.options.mqtt_port)})"
        return [command]

    def _redis(self, settings: Settings) -> list[Command]:
        if "redis_url" in settings.model_fields_set:
            check_configured_redis(settings)
            self.redis_is = "the one of REDIS_URL"
            return []
        port = choose_port(6379, asked=self.options.redis_port, what="Redis", option="--redis-port")
        label, command = redis_server(self.options.state, port)
        url = f"redis://{LOOPBACK}:{port}/0"
        self.env["REDIS_URL"] = url
        self.redis_is = f"{url} ({label}{_instead(6379, port, self.options.redis_port)})"
        return [command]

    def _flower(self) -> Command:
        port = choose_port(5555, asked=self.options.flower_port, what="Flower", option="--flower-port")
        self.flower_url = f"http://{LOOPBACK}:{port}"
        options = (f"--address={LOOPBACK}", f"--port={port}", "--persistent=True")
        return flower_command(
            *options, f"--db={self.options.state / 'flower'}", env=self.env, cwd=self.options.project, name=FLOWER
        )

    def _fleet(self, rate: float) -> Command:
        argv = (sys.executable, "-m", "routemq", "simulate", "--rate", str(rate), "--json")
        return Command(name=FLEET, argv=argv, env=self.env, cwd=self.options.project, restart=False)

    def _start_workers(self) -> None:
        self._workers = WorkerManager(
            self.router, settings=load_settings(), supervisor=self.supervisor, cwd=self.options.project, env=self.env
        )
        self._workers.start_workers()

    def _wait(self, names: list[str], *, timeout_s: float) -> None:
        late = self.supervisor.wait_ready(names, timeout_s=timeout_s, cancelled=self.stopping.is_set)
        if late and not self.stopping.is_set():
            raise NotStartedError(names=late)


def _instead(usual: int, port: int, asked: int | None) -> str:
    return "" if port in (usual, asked) else f"; port {usual} is in use"
